"""The kinds of component: one table, one row for each kind.

Adding a kind is one row here and one base class. The hook `register_NAMEs`, `list-components`, `show`, `new-plugin`,
the conformance checks and the pages of the docs are made from the row.
"""

from __future__ import annotations

from dataclasses import dataclass

# No dots or spaces: names are part of dotted keys (`--set tasks.co.target=...`) and of file names.
NAME = r"^[A-Za-z_][A-Za-z0-9_-]*$"


@dataclass(frozen=True)
class Kind:
    """A kind of component.

    Attributes:
        name: how recipes, `show` and the registry call it; its hook is `register_NAMEs`.
        base: dotted path of the class that its components derive from.
        methods: what a class must have beside its `Params`.
        does: what its components do, as the end of a sentence: "They ...".
        checks: module of its conformance checks, whose `CHECKS` run on a component; empty for none of its own.
        option: what `new-plugin --kind` calls it, which is also the folder of its template; the name by default.
        ending: how the classes that `new-plugin` writes end.
        example: what the component of the template does; empty for a kind without a template.
        command: a command that uses a component; `{folder}`, `{name}` and `{recipe}` are put in.
    """

    name: str
    base: str
    methods: tuple[str, ...]
    does: str
    checks: str = ""
    option: str = ""
    ending: str = ""
    example: str = ""
    command: str = "urbankit run {folder}{recipe}.yaml"

    @property
    def hook(self) -> str:
        """The function by which a plugin registers components of the kind."""
        return f"register_{self.name}s"

    @property
    def title(self) -> str:
        """The kind as a heading: `Graph encoders`."""
        return self.name.replace("_", " ").capitalize() + "s"

    @property
    def template(self) -> str:
        """The folder of templates of `new-plugin`, and the value of its `--kind`."""
        return self.option or self.name


def full_name(kind: str) -> str:
    """Return the name of the kind that `new-plugin` calls `kind`; other names are returned as they are."""
    return next((one.name for one in KINDS.values() if one.option == kind), kind)


_ROWS = (
    Kind(
        name="source",
        base="urbankit.city.io.source.Source",
        methods=("scan_table", "read_vector", "files"),
        does="read files of one format where a city file names a table or a vector file",
        checks="urbankit.testing.sources",
        ending="Source",
        example="tables of Stata",
        command="urbankit prepare CITY",
    ),
    Kind(
        name="dataset",
        base="urbankit.city.datasets.base.Dataset",
        methods=("files", "provides", "read"),
        does="read files that hold several layers of a city, under a key of their own in the city file",
        checks="urbankit.testing.datasets",
        command="urbankit prepare CITY",
    ),
    Kind(
        name="modality_encoder",
        base="urbankit.modalities.base.ModalityEncoder",
        methods=("observations", "load", "forward", "project"),
        does="turn the observations of one modality into vectors",
        checks="urbankit.testing.modality_encoders",
        option="modality",
        ending="Encoder",
        example="how far a region lies from the centre, and in which direction",
    ),
    Kind(
        name="view",
        base="urbankit.views.base.View",
        methods=("build",),
        does="build a weighted graph over the regions of a city",
        checks="urbankit.testing.views",
        ending="View",
        example="regions near one another, weighted by a Gaussian of their distance",
    ),
    Kind(
        name="graph_encoder",
        base="urbankit.graph.base.GraphEncoder",
        methods=("forward",),
        does="turn a view and node features into node embeddings",
        checks="urbankit.testing.graph_encoders",
        ending="GraphEncoder",
        example="GraphSAGE with the mean aggregator",
    ),
    Kind(
        name="subgraph",
        base="urbankit.graph.subgraph.SubgraphSampler",
        methods=("sample",),
        does="sample the graph around each region, for example by random walks",
        checks="urbankit.testing.subgraphs",
        ending="Sampler",
        example="a region with its strongest neighbours",
    ),
    Kind(
        name="fusion",
        base="urbankit.fusion.base.Fusion",
        methods=("forward",),
        does="join several vectors of a region into one",
        checks="urbankit.testing.fusions",
        ending="Fusion",
        example="mean of the vectors, weighted by learned gates",
    ),
    Kind(
        name="pair_weight",
        base="urbankit.methods.pair_weights.PairWeight",
        methods=("forward",),
        does="weight the matched pairs of a contrast",
        checks="urbankit.testing.pair_weights",
        ending="Weight",
        example="weights of pairs by a softmax of their cosine",
    ),
    Kind(
        name="captioner",
        base="urbankit.captioning.captioners.base.Captioner",
        methods=("caption",),
        does="write a text about an image or a region",
        checks="urbankit.testing.captioners",
        ending="Captioner",
        example="captions with the most frequent colours of an image",
        command="urbankit caption CITY --captioner {name}",
    ),
    Kind(
        name="head",
        base="urbankit.heads.base.Head",
        methods=("forward",),
        does="predict a task from the region embedding",
        checks="urbankit.testing.heads",
        ending="Head",
        example="gated linear unit on the normalised embedding",
    ),
    Kind(
        name="method",
        base="urbankit.methods.base.Method",
        methods=("loss", "forward", "parts"),
        does="pre-train region embeddings",
        checks="urbankit.testing.methods",
        ending="Method",
        example="contrast of regions with their neighbours in every view",
    ),
    Kind(
        name="split",
        base="urbankit.evaluation.splits.SplitProtocol",
        methods=("split",),
        does="divide the regions into a training, a validation and a test part",
        checks="urbankit.testing.splits",
        ending="Split",
        example="the west of the city for training, the east for testing",
        command="urbankit run urbanmmcl --set evaluation.splits=[random,{name}]",
    ),
    Kind(
        name="metric",
        base="urbankit.evaluation.metrics.Metric",
        methods=("compute",),
        does="measure how well predictions agree with the truth",
        checks="urbankit.testing.metrics",
        ending="Metric",
        example="median of the absolute errors",
        command="urbankit run urbanmmcl",
    ),
    Kind(
        name="exporter",
        base="urbankit.export.base.Exporter",
        methods=("write",),
        does="write embeddings and predictions in the format of another tool",
        checks="urbankit.testing.exporters",
        ending="Exporter",
        example="one line of GeoJSON for each region, for streaming tools",
        command="urbankit export RUN --to {name}",
    ),
    Kind(
        name="figure",
        base="urbankit.report.figures.base.Figure",
        methods=("draw",),
        does="draw a finished run",
        checks="urbankit.testing.figures",
        ending="Figure",
        example="histograms of the error of every task",
        command="urbankit report RUN",
    ),
    Kind(
        name="tracker",
        base="urbankit.tracking.base.Tracker",
        methods=("start", "log_losses", "log_scores"),
        does="send losses, scores and files of a run to an experiment tracker",
        checks="urbankit.testing.trackers",
        ending="Tracker",
        example="one line of JSON for each number, in a file of the run folder",
        command="urbankit run urbanmmcl --set tracking.name={name}",
    ),
    Kind(
        name="model",
        base="urbankit.registry.models.PackagedModel",
        methods=(),
        does="embed and predict the regions of other cities; packages ship them trained",
        checks="urbankit.testing.models",
        command="urbankit predict {name} --city CITY",
    ),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ROWS}
