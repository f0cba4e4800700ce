"""`python -m fanwood` is `fanwood`."""

from fanwood.cli.entry import main

if __name__ == "__main__":
    main()
