"""The command `edgepress` as `python -m edgepress`, for where the folder of commands is not on the PATH."""

import importlib

if __name__ == "__main__":
    try:
        main = importlib.import_module("edgepress.toolkit.cli.main").main
    except ModuleNotFoundError:
        raise SystemExit("This has the runtime alone: python -m edgepress.runtime --help") from None
    main()
