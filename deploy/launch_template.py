"""What the launcher of Flex Templates starts: it takes a file, and ours is a module."""

import sys

from pipeline.template import main

if __name__ == "__main__":
    main(sys.argv[1:])
