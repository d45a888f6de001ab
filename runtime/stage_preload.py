"""What each stage looks up as it begins and ends, the same in all of them: done once, by the
process that they fork from. The versions of packages, their entry points and the checkout's commit
took each stage 35 ms."""

import sys

from contracts.config.variants import installed
from contracts.steps.manifest import revision, versions
from runtime.lean_imports import spare_pandas

spare_pandas()
installed(tuple(sys.path))
versions()
revision()
