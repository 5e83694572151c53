"""The tasks about numbers that Ponder can work out."""

from ponder.data.worked.chain_sum import CHAIN_SUM
from ponder.data.worked.complex_arithmetic import COMPLEX_ARITHMETIC
from ponder.data.worked.drills import DRILL_TASK
from ponder.data.worked.fraction_simplification import FRACTION_SIMPLIFICATION
from ponder.data.worked.gcd import GCD
from ponder.data.worked.lcm import LCM
from ponder.data.worked.prime_factorization import PRIME_FACTORIZATION
from ponder.data.worked.simple_equations import SIMPLE_EQUATIONS
from ponder.data.worked.simple_geometry import SIMPLE_GEOMETRY
from ponder.data.worked.source import WorkedSource

NUMBER_TASKS: tuple[WorkedSource, ...] = (
    CHAIN_SUM,
    GCD,
    LCM,
    FRACTION_SIMPLIFICATION,
    PRIME_FACTORIZATION,
    SIMPLE_EQUATIONS,
    SIMPLE_GEOMETRY,
    COMPLEX_ARITHMETIC,
    DRILL_TASK,
)
