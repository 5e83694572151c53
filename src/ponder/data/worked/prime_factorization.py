"""`prime_factorization`, worked out: 2, 3 and 5 by their rules, then larger primes up to the square root."""

import random

from ponder.data.worked.arithmetic import divide, short_division, sign, subtract, times_digit
from ponder.data.worked.gym_task import Facts, GymTask

OPENINGS = ("Try the primes in order:", "Divide by primes:", "Start with 2:")
PRIMES = (7, 11, 13, 17, 19, 23, 29, 31, 37)


def write(facts: Facts, rng: random.Random) -> tuple[str, str]:
    """814: halved, the rules of 3 and 5, then 7 and 11; what is left is prime as its root is passed."""
    rest = facts["number"]
    lines, factors = [rng.choice(OPENINGS)], []
    for prime in (2, 3, 5):
        while rest > prime:
            if rest % prime:
                lines.append(f"{_rule(rest, prime)} no")
                break
            lines.append(f"{_rule(rest, prime)} yes: {divide(rest, prime, rng)}")
            factors.append(prime)
            rest //= prime
    for prime in PRIMES:
        while rest >= prime**2 and rest % prime == 0:
            lines.append(f"{trial(rest, prime)} gives {rest // prime}")
            factors.append(prime)
            rest //= prime
        if rest < prime**2:
            lines.append(f"{rest}<{prime**2}={prime}*{prime}, so prime" if rest > 5 else f"{rest} is prime")
            break
        lines.append(trial(rest, prime))
    answer = " × ".join(map(str, [*factors, rest]))
    return "\n".join(lines), answer


def trial(number: int, prime: int) -> str:
    """Whether a prime of 7 and above divides a number up to 1000: `407/13: 13*3=39<40,40-39=1,17: 13*1=13<17 no`.

    Shorter than a division that is worked out: the last remainder is not asked for.
    """
    verdict = "no" if number % prime else "yes"
    if prime < 10:
        return f"{short_division(number, prime, quotient=False)} {verdict}"
    head, rest = f"{number}/{prime}: ", number
    if number >= 10 * prime:
        tens = number // 10
        digit = tens // prime
        rest = tens % prime * 10 + number % 10
        work = f"{times_digit(prime, digit)}{sign(prime * digit, tens)}{tens}"
        head += f"{work},{subtract(tens, prime * digit)},{rest}: " if tens % prime else f"{work},{rest}: "
    if rest < prime:
        return f"{head}{rest}<{prime} {verdict}" if rest else f"{head}{verdict}"
    multiple = rest // prime * prime
    return f"{head}{times_digit(prime, rest // prime)}{sign(multiple, rest)}{rest} {verdict}"


def _rule(number: int, prime: int) -> str:
    """What the rule of 2, 3 or 5 looks at."""
    if prime == 3:
        figures = [int(figure) for figure in str(number)]
        return f"{'+'.join(map(str, figures))}={sum(figures)}" if len(figures) > 1 else f"{number}"
    return f"{number} ends in {number % 10}"


PRIME_FACTORIZATION = GymTask("prime_factorization", write)
