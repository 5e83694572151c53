"""A Codeforces rating from contests, and what share of people it is above, by the method of CodeElo.

CodeElo (Quan et al. 2025, arXiv 2501.01257): the model takes part in a contest beside the people who did. Its score
gives its place, and its rating is that at which the expected place among their ratings is this place. Ratings of
several contests are averaged. As in the authors' script, a place is the number of people ahead, and the rating a whole
number from 0 to 100 above the best participant's.
"""

import bisect
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from ponder.core.errors import DataError
from ponder.evals.graded import GradedSample

WRONG_TRY_POINTS = 50  # taken from a problem's points for each earlier wrong try
WRONG_TRY_PENALTY = 10  # minutes, where problems are only counted
ABOVE_THE_BEST = 100  # highest rating that a contest can give, above its best participant's
RATINGS = "sorted_ratings.json"  # of all users
TRIES = 8  # at a problem, as in CodeElo
FEWEST_PARTICIPANTS = 200  # of a contest that says something; the authors' script asks for more than so many


@dataclass(frozen=True, kw_only=True, slots=True)
class Participant:
    """A person in a contest's final standings."""

    rating: int  # before the contest
    points: float
    penalty: float  # breaks ties: less is better


@dataclass(frozen=True, kw_only=True, slots=True)
class Contest:
    """A contest as it ended. `problems`: the points of each by its index; None where problems are only counted."""

    name: str
    problems: Mapping[str, float | None]
    participants: Sequence[Participant]  # the best first


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeforcesRating:
    """What an evaluation is worth."""

    rating: float  # mean over contests
    percentile: float  # percent of all users with a lower rating
    contests: Mapping[str, int]  # the rating of each
    left_out: int  # contests that were asked, and whose standings are not there or hold too few people


class Standing(NamedTuple):
    """What the tries at a contest's problems come to."""

    points: float
    penalty: float


def standing(problems: Mapping[str, float | None], tries: Mapping[str, Sequence[bool]]) -> Standing:
    """The score of tries in their order, True for one that all tests accept. Tries after the first right one do not
    count. Raises `DataError` for a problem that the contest does not have.
    """
    if unknown := sorted(tries.keys() - problems.keys()):
        raise DataError(f"the contest has no problem {unknown[0]!r}; it has {', '.join(problems)}")
    points = penalty = 0.0
    for name, worth in problems.items():
        verdicts = list(tries.get(name, ()))
        if True not in verdicts:
            continue
        wrong = verdicts.index(True)
        if worth is not None:
            points += max(0.0, worth - WRONG_TRY_POINTS * wrong)
        else:
            points += 1.0
            penalty += WRONG_TRY_PENALTY * wrong
    return Standing(points, penalty)


def people_ahead(participants: Sequence[Participant], score: Standing) -> int:
    """How many are ahead of this score: those before the first who did worse."""
    for place, person in enumerate(participants):
        worse = person.points < score.points
        if worse or (person.points == score.points and person.penalty > score.penalty):
            return place
    return len(participants)


def expected_place(rating: float, ratings: Sequence[float]) -> float:
    """1 + Σ 1 / (1 + 10^((rating - r) / 400)): the Elo model's expected place among people of these ratings.

    >>> expected_place(1500, [1500, 1500])
    2.0
    """
    return 1.0 + math.fsum(1.0 / (1.0 + 10.0 ** ((rating - other) / 400.0)) for other in ratings)


def rating_at(place: int, ratings: Sequence[float]) -> int:
    """The highest whole rating whose expected place is `place` or more, by bisection.

    Raises `DataError` without any rating.
    """
    if not ratings:
        raise DataError("a contest without participants gives no rating; expected their ratings before it")
    low, high = 0, int(max(ratings)) + ABOVE_THE_BEST
    while high - low > 1:
        middle = (low + high) // 2
        if expected_place(middle, ratings) < place:
            high = middle
        else:
            low = middle
    return low


def contest_rating(contest: Contest, tries: Mapping[str, Sequence[bool]]) -> int:
    """The rating that these tries are worth in this contest. Raises `DataError` for one with too few participants."""
    if not says_something(contest):
        raise DataError(
            f"{contest.name} has {len(contest.participants)} rated participants; expected more than "
            f"{FEWEST_PARTICIPANTS}: a place among few says little"
        )
    ahead = people_ahead(contest.participants, standing(contest.problems, tries))
    return rating_at(ahead, [person.rating for person in contest.participants])


def says_something(contest: Contest) -> bool:
    """Whether a place in it does: it has more than `FEWEST_PARTICIPANTS` rated participants."""
    return len(contest.participants) > FEWEST_PARTICIPANTS


def rated_contests(problem_ids: Iterable[str], folder: Path) -> dict[str, Contest]:
    """The contests of these problems (see `rate`) that `folder` holds and that say something, by their numbers.

    Raises `DataError` where there is none, where a file is damaged, and where a contest does not have a problem.
    """
    asked: dict[str, set[str]] = {}
    for name, index in map(_contest_and_index, problem_ids):
        asked.setdefault(name, set()).add(index)
    found: dict[str, Contest] = {}
    small = []
    for name, indices in sorted(asked.items()):
        standings = folder / f"{name}.standings.json"
        if not standings.is_file():
            continue
        contest = load_contest(standings, folder / f"{name}.changes.json")
        standing(contest.problems, dict.fromkeys((f"{name}{index}" for index in indices), ()))
        if says_something(contest):
            found[name] = contest
        else:
            small.append(name)
    if not found:
        there = f" but those of {FEWEST_PARTICIPANTS} rated participants or fewer: {', '.join(small[:5])}"
        raise DataError(
            f"{folder} has no contest of the evaluation's problems{there if small else ''}; expected "
            "CONTEST.standings.json and CONTEST.changes.json of "
            f"{', '.join(sorted(asked)[:5]) or 'the contests that were asked'}"
        )
    return found


def rate(samples: Sequence[GradedSample], folder: Path, tries: int = TRIES) -> CodeforcesRating:
    """The rating of an evaluation on Codeforces' problems, whose ids end in CONTEST/INDEX, such as codeforces/2024/A.

    The first `tries` samples of a problem are tries at it, in their order; an ungraded one is none. `folder` holds
    contests as `load_contest` reads them, CONTEST.standings.json and CONTEST.changes.json, and the ratings of all users
    in sorted_ratings.json. Contests that are not there, or have too few rated participants, are left out and counted.
    Raises `DataError` where no sample is of any other.
    """
    by_contest: dict[str, dict[str, list[bool]]] = {}
    for sample in samples:
        contest, index = _contest_and_index(sample.problem_id)
        if sample.drawn == "sampled" and sample.sample < tries and sample.correct is not None:
            by_contest.setdefault(contest, {}).setdefault(f"{contest}{index}", []).append(sample.correct)
    asked = [f"{contest}/{name[len(contest) :]}" for contest, attempts in by_contest.items() for name in attempts]
    contests = rated_contests(asked, folder)
    ratings = {name: contest_rating(contest, by_contest[name]) for name, contest in contests.items()}
    rating = mean_rating(list(ratings.values()))
    return CodeforcesRating(
        rating=rating,
        percentile=percentile(rating, load_ratings(folder / RATINGS)),
        contests=ratings,
        left_out=len(by_contest) - len(ratings),
    )


def _contest_and_index(problem_id: str) -> tuple[str, str]:
    """`codeforces/2024/A` → 2024 and A."""
    contest, _, index = problem_id.rpartition("/")
    return contest.rpartition("/")[2], index


def mean_rating(ratings: Sequence[int]) -> float:
    """Over contests. Raises `DataError` where there is none."""
    if not ratings:
        raise DataError("no contest gave a rating; expected at least one")
    return math.fsum(ratings) / len(ratings)


def percentile(rating: float, sorted_ratings: Sequence[float]) -> float:
    """How many percent of people have a lower rating, to one decimal. `sorted_ratings` rise.

    >>> percentile(1500, [1000, 1400, 1500, 2000])
    50.0
    """
    if not sorted_ratings:
        raise DataError("the list of ratings is empty; expected the ratings of all users, rising")
    return round(100.0 * bisect.bisect_left(sorted_ratings, rating) / len(sorted_ratings), 1)


def load_ratings(path: Path) -> list[float]:
    """The ratings of all users, rising, from a JSON list such as CodeElo's sorted_ratings.json.

    Raises `DataError` for anything else.
    """
    data = _read_json(path)
    if not isinstance(data, list) or not all(isinstance(r, int | float) and not isinstance(r, bool) for r in data):
        raise DataError(f"{path} is no list of ratings; expected a JSON list of numbers")
    if any(later < earlier for earlier, later in pairwise(data)):
        raise DataError(f"the ratings in {path} do not rise; sort them")
    return [float(rating) for rating in data]


def load_contest(standings: Path, rating_changes: Path) -> Contest:
    """A contest from what Codeforces' API says of it, saved: `contest.standings` and `contest.ratingChanges`.

    Of the participants, those count whose rating changed. Raises `DataError` for files of another shape.
    """
    places, changes = _result(standings), _result(rating_changes)
    try:
        before = {str(change["handle"]): int(change["oldRating"]) for change in changes}
        problems = {
            f"{p['contestId']}{p['index']}": float(p["points"]) if "points" in p else None for p in places["problems"]
        }
        participants = [
            Participant(rating=before[handle], points=float(row["points"]), penalty=float(row["penalty"]))
            for row in places["rows"]
            if (handle := row["party"]["members"][0]["handle"]) in before
        ]
        return Contest(name=str(places["contest"]["name"]), problems=problems, participants=participants)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{standings} and {rating_changes} are no contest: {type(error).__name__} {error}; expected what "
            "Codeforces' API gives for contest.standings and contest.ratingChanges"
        ) from error


def _result(path: Path) -> Any:
    data = _read_json(path)
    if not isinstance(data, dict) or "result" not in data:
        raise DataError(f'{path} has no "result"; expected a saved answer of Codeforces\' API')
    return data["result"]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
