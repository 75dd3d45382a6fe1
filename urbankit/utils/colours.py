"""Colours that colour-blind readers can tell apart, for figures and the styles of exported layers."""

COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000",
    "#332288", "#999933", "#882255", "#117733",
)  # fmt: skip
"""Okabe and Ito's eight, then four of Tol's muted scheme for targets of more classes."""
