"""Codeforces rating and percentile: cases worked by hand, and the saved list of ratings."""

import json
import math
from pathlib import Path

import pytest

from benchmark_data import benchmark_file
from ponder.core.errors import DataError
from ponder.evals.codeforces import (
    Contest,
    Participant,
    Standing,
    contest_rating,
    expected_place,
    load_contest,
    load_ratings,
    mean_rating,
    people_ahead,
    percentile,
    rate,
    rated_contests,
    rating_at,
    standing,
)
from ponder.evals.graded import GradedSample

PROBLEMS = {"A": 500.0, "B": 1000.0, "C": 1500.0}


def test_a_standing_by_hand() -> None:
    # A at the first try; B at the third, 1000 - 2 * 50; C never; tries after a right one do not count
    tries = {"A": [True, False], "B": [False, False, True], "C": [False, False]}
    assert standing(PROBLEMS, tries) == Standing(500 + 900, 0)
    assert standing(dict.fromkeys(PROBLEMS), tries) == Standing(2, 20)  # counted: 2 problems, 2 wrong tries of 10
    assert standing({"A": 80.0}, {"A": [False, False, True]}) == Standing(0, 0)  # never below 0
    assert standing(PROBLEMS, {}) == Standing(0, 0)
    with pytest.raises(DataError, match="no problem 'D'"):
        standing(PROBLEMS, {"D": [True]})


def people(*scores: tuple[float, float]) -> list[Participant]:
    return [Participant(rating=1500, points=points, penalty=penalty) for points, penalty in scores]


def test_the_place_by_hand() -> None:
    standings = people((3, 10), (2, 5), (2, 30), (1, 0))
    assert people_ahead(standings, Standing(4, 0)) == 0
    assert people_ahead(standings, Standing(3, 10)) == 1  # a tie stays behind
    assert people_ahead(standings, Standing(2, 20)) == 2
    assert people_ahead(standings, Standing(2, 30)) == 3
    assert people_ahead(standings, Standing(0, 0)) == 4


def test_the_expected_place_by_hand() -> None:
    # 400 points above: ahead of me with 1/11; equal: 1/2; 400 below: 10/11
    assert expected_place(1500, [1100, 1500, 1900]) == pytest.approx(1 + 1 / 11 + 1 / 2 + 10 / 11)
    assert expected_place(10_000, [1500] * 9) == pytest.approx(1.0)
    assert expected_place(-10_000, [1500] * 9) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("place", "rating"),
    [
        (2, 1500),  # of two equals I expect place 1 + 2/2
        (1, 1599),  # nobody is expected at place 1: the highest that the bisection reaches
        (0, 1599),
        (3, 0),  # behind both: the expected place stays below 3 down to 0
    ],
)
def test_the_rating_of_a_place_by_hand(place: int, rating: int) -> None:
    assert rating_at(place, [1500, 1500]) == rating


def test_the_rating_solves_the_equation() -> None:
    ratings = [800 + 7 * i for i in range(300)]
    for place in (20, 50, 150, 290):
        rating = rating_at(place, ratings)
        assert expected_place(rating, ratings) >= place > expected_place(rating + 1, ratings)
    # of n people at r, place p: 1 + n/(1 + 10^((x - r)/400)) = p, so x = r + 400 log10(n/(p - 1) - 1)
    assert rating_at(151, [1400] * 400) == math.floor(1400 + 400 * math.log10(400 / 150 - 1))


def test_a_contest_by_hand() -> None:
    contest = Contest(
        name="Round 1",
        problems=PROBLEMS,
        participants=[Participant(rating=1400, points=3000 - 10 * i, penalty=0) for i in range(201)],
    )
    # 500 + 950 points: behind the 156 people of 3000 to 1450
    rating = contest_rating(contest, {"A": [True], "B": [False, True]})
    assert rating == rating_at(156, [1400] * 201)
    assert rating == math.floor(1400 + 400 * math.log10(201 / 155 - 1))
    assert mean_rating([rating, rating + 10]) == rating + 5
    with pytest.raises(DataError, match="Round 2 has 3 rated participants"):
        contest_rating(Contest(name="Round 2", problems=PROBLEMS, participants=people((1, 0), (1, 0), (0, 0))), {})
    with pytest.raises(DataError, match="no contest gave a rating"):
        mean_rating([])


def test_the_percentiles_of_the_papers() -> None:
    """R1's rating, 2029: the paper says 96.3 %, of a contest's participants; of all users of the list it is 98.1 %."""
    ratings = load_ratings(benchmark_file("codeelo/sorted_ratings.json"))
    assert len(ratings) == 717_421
    assert percentile(2029, ratings) == 98.1
    assert percentile(min(ratings), ratings) == 0.0
    assert percentile(10_000, ratings) == 100.0


def test_a_contest_as_the_api_gives_it(tmp_path: Path) -> None:
    rows = [
        {"party": {"members": [{"handle": name}]}, "points": points, "penalty": 0}
        for name, points in (("ann", 1500), ("guest", 1000), ("ben", 500))
    ]
    problems = [{"contestId": 7, "index": "A", "points": 500}, {"contestId": 7, "index": "B"}]
    standings = {"status": "OK", "result": {"contest": {"name": "Round 7"}, "problems": problems, "rows": rows}}
    changes = {"status": "OK", "result": [{"handle": n, "oldRating": r} for n, r in (("ben", 900), ("ann", 1800))]}
    (tmp_path / "s.json").write_text(json.dumps(standings))
    (tmp_path / "c.json").write_text(json.dumps(changes))
    contest = load_contest(tmp_path / "s.json", tmp_path / "c.json")
    assert contest.name == "Round 7"
    assert contest.problems == {"7A": 500.0, "7B": None}
    assert [(p.rating, p.points) for p in contest.participants] == [(1800, 1500), (900, 500)]
    (tmp_path / "c.json").write_text(json.dumps({"result": [{"name": "ann"}]}))
    with pytest.raises(DataError, match="are no contest: KeyError 'handle'"):
        load_contest(tmp_path / "s.json", tmp_path / "c.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"a": 1}', "no list of ratings"), ("[1, 3, 2]", "do not rise"), ("[1, true]", "no list"), ("[1", "is not JSON")],
)
def test_a_bad_list_of_ratings_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "ratings.json").write_text(text)
    with pytest.raises(DataError, match=message):
        load_ratings(tmp_path / "ratings.json")
    with pytest.raises(DataError, match="cannot read"):
        load_ratings(tmp_path / "missing.json")
    with pytest.raises(DataError, match="is empty"):
        percentile(1500, [])


def save_contest(folder: Path, number: int, people: int) -> None:
    """A contest with the problems A and B, and so many people of rating 1400, each with 4 points less than the last."""
    rows = [{"party": {"members": [{"handle": f"h{i}"}]}, "points": 2000 - 4 * i, "penalty": 0} for i in range(people)]
    problems = [{"contestId": number, "index": i, "points": points} for i, points in (("A", 500), ("B", 1000))]
    result = {"contest": {"name": f"Round {number}"}, "problems": problems, "rows": rows}
    (folder / f"{number}.standings.json").write_text(json.dumps({"result": result}))
    changes = [{"handle": f"h{i}", "oldRating": 1400} for i in range(people)]
    (folder / f"{number}.changes.json").write_text(json.dumps({"result": changes}))


def graded(problem: str, sample: int, correct: bool | None) -> GradedSample:
    return GradedSample(
        task="codeforces", problem_id=f"codeforces/{problem}", prompt=problem, sample=sample, text="", correct=correct
    )


def test_a_contest_of_few_people_is_left_out(tmp_path: Path) -> None:
    save_contest(tmp_path, 7, 200)
    save_contest(tmp_path, 9, 201)
    (tmp_path / "sorted_ratings.json").write_text("[0, 4000]")
    samples = [graded(problem, 0, correct=True) for problem in ("7/A", "8/A", "9/A")]
    found = rate(samples, tmp_path)
    assert (list(found.contests), found.left_out) == (["9"], 2)
    with pytest.raises(DataError, match=r"no contest of .* but those of 200 rated participants or fewer: 7; .* 7, 8$"):
        rate(samples[:2], tmp_path)
    assert list(rated_contests(["codeforces/9/B", "codeforces/7/A"], tmp_path)) == ["9"]
    with pytest.raises(DataError, match="the contest has no problem '9C'; it has 9A, 9B"):
        rated_contests(["codeforces/9/C"], tmp_path)


def test_samples_of_an_evaluation_are_rated(tmp_path: Path) -> None:
    save_contest(tmp_path, 9, 201)
    (tmp_path / "sorted_ratings.json").write_text(json.dumps(list(range(0, 2000, 10))))
    outcomes = {"9/A": [None, True], "9/B": [False, False, True], "8/A": [True]}
    samples = [graded(problem, i, correct) for problem, group in outcomes.items() for i, correct in enumerate(group)]
    found = rate(samples, tmp_path)
    # A at the first graded try, B at the third: 500 + 900 points, behind 151 people, of 2000 to 1400
    assert found.contests == {"9": rating_at(151, [1400] * 201)}
    assert found.rating == math.floor(1400 + 400 * math.log10(201 / 150 - 1))
    assert (found.percentile, found.left_out) == (percentile(found.rating, list(range(0, 2000, 10))), 1)
    fewer = rate(samples, tmp_path, tries=2)  # B is not solved with two tries: 500 points, behind all
    assert fewer.rating == math.floor(1400 + 400 * math.log10(201 / 200 - 1))
    with pytest.raises(DataError, match=r"has no contest of the evaluation's problems; .* of 8$"):
        rate(samples[-1:], tmp_path)
