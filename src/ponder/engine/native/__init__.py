"""Native CPU kernels behind one call per step, and the generator on top of them.

The kernels are built with the package where there is a C++ compiler; `available()` says why not, where there is none.
"""

from ponder.engine.formats import WeightFormat
from ponder.engine.native.generator import NativeGenerator
from ponder.engine.native.library import Variant, available
from ponder.engine.native.model import Cache, NativeModel, Step

__all__ = ["Cache", "NativeGenerator", "NativeModel", "Step", "Variant", "WeightFormat", "available"]
