"""`python -m fanwood` is `fanwood`."""

from fanwood.cli.main import main

if __name__ == "__main__":
    main()
