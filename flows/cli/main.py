"""Entry point of the `onpolicy` command: it hears Ctrl-C before anything is imported."""

from runtime.signals import end_at_once


def main() -> None:
    """Run the command line."""
    end_at_once()
    from flows.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
