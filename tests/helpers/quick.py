"""The command `urbankit`, made fast enough to test the commands of the docs.

Runs take one epoch on 36 regions. Suites and runs on real cities only run with `--dry-run`.
"""

import sys

QUICK = [
    "pretrain.epochs=1",
    "finetune.epochs=1",
    "evaluation={seeds: [0], floors: [mean], controls: [], min_class_size: 1, splits: [random]}",
    "report.figures=false",
]


def shortened(arguments: list[str]) -> list[str]:
    command, rest = arguments[:1], arguments[1:]
    if command == ["bench"] or any("DATA" in argument for argument in rest):
        return [*arguments, *(["--dry-run"] if command in (["bench"], ["run"]) and "--dry-run" not in rest else [])]
    if command == ["demo"]:
        return [*("36" if argument == "100" else argument for argument in arguments)]
    if command == ["run"] and "--dry-run" not in rest:
        named = any(argument.startswith("city.") for argument in rest)
        sets = QUICK if named else [*QUICK, "city.demo.regions=36"]
        return [*arguments, *(part for change in sets for part in ("--set", change))]
    return arguments


if __name__ == "__main__":
    from urbankit.cli.main import main

    sys.argv = ["urbankit", *shortened(sys.argv[1:])]
    main()
