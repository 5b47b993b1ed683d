"""``python -m cfai_nb.cli``: the same as ``cfai-nb``, for when that is not on the PATH."""

import sys

from . import main

sys.exit(main())
