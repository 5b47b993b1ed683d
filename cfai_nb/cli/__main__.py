"""``python -m cfai_nb.cli``: the same as ``cfai-nb``, where its folder is not on the path."""

import sys

from . import main

sys.exit(main())
