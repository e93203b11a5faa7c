"""The ``mta`` command, and ``python -m mta``."""

from mta.isolation import isolate


def main() -> None:
    isolate()
    from mta.cli.main import main as run  # noqa: PLC0415  with the clean path

    run()


if __name__ == "__main__":
    main()
