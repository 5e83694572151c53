"""More stories about people: their ages, votes, games, shares and work."""

from ponder.data.worked.stories.draw import SMALL, Draw
from ponder.data.worked.stories.work import Work
from ponder.data.worked.stories.world import folk


def sum_and_difference(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), x, few, gap = folk(d, 2), d.noun(SMALL), d.number(5, 40), d.number(2, 20)
    twice = w.minus("Twice the smaller number", 2 * few + gap, gap)
    text = d.pick(
        f"{a} and {b} have {2 * few + gap} {x} together. {a} has {gap} more than {b}. How many {x} does {b} have?",
        f"Of {2 * few + gap} {x}, {a} gets {gap} more than {b}, and nobody else gets any. How many go to {b}?",
        f"{b} has {gap} {x} fewer than {a}. The two have {2 * few + gap} between them. What is {b}'s number?",
    )
    return text, w.over(f"Number of {b}", twice, 2)


def born_in(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), age, older, later = folk(d, 2), d.number(5, 14), d.number(20, 30), d.number(3, 20)
    then = w.plus(f"Age of {a} then", age, later)
    text = d.pick(
        f"{b} was {older} when {a}, now {age}, was born. How old will {b} be in {later} years?",
        f"{a} is {age}, and {b} is {older} years older. What will be {b}'s age when {later} more years have gone by?",
        f"In {later} years, how old will {b} be, who is {older} years older than {a}, a child of {age}?",
    )
    return text, w.plus(f"Age of {b} then", then, older)


def times_as_old(d: Draw, w: Work) -> tuple[str, int]:
    (a, b, c), young, times, gap = folk(d, 3), d.number(4, 12), d.number(3, 5), d.number(2, 15)
    old = w.times(f"Age of {b}", young, times)
    word = {3: "three", 4: "four", 5: "five"}[times]
    text = d.pick(
        f"{a} is {young}. {b} is {word} times that age, and {c} is {gap} years older than {b}. How old is {c}?",
        f"{c} was born {gap} years before {b}, whose age is {word} times that of {a}. {a} is {young} years old. What "
        f"is the age of {c}?",
        f"What is {c}'s age, if {c} has lived {gap} years longer than {b}, {b} {word} times as long as {a}, and {a} "
        f"{young} years?",
    )
    return text, w.plus(f"Age of {c}", old, gap)


def votes(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), first, second, none = folk(d, 2), d.number(40, 150), d.number(30, 140), d.number(3, 20)
    both = w.plus("Votes for the two", first, second)
    text = d.pick(
        f"{first + second + none} people vote. {a} gets {first} votes and {b} {second}. All other votes are invalid. "
        f"How many are invalid?",
        f"In an election {a} receives {first} and {b} {second} of {first + second + none} votes. How many votes go "
        f"to neither of them?",
        f"Of {first + second + none} voters, {first} are for {a}, {second} are for {b}, and the others leave the "
        f"paper empty. How many papers are empty?",
    )
    return text, w.minus("Other votes", first + second + none, both)


def wins_and_draws(d: Draw, w: Work) -> tuple[str, int]:
    won, drawn, lost, three = d.number(3, 15), d.number(2, 9), d.number(2, 9), d.pick(2, 3)
    first = w.times("Points for wins", won, three)
    text = d.pick(
        f"A team gets {three} points for a win and 1 point for a draw. It wins {won} games, draws {drawn} and loses "
        f"{lost}. How many points does it have?",
        f"After {won} wins, {drawn} draws and {lost} defeats, how many points does a club have? A win counts {three} "
        f"points, a draw 1 and a defeat none.",
        f"{won} games were won, {lost} lost and {drawn} ended in a draw. With {three} points per win and a single "
        f"point per draw, what is the total?",
    )
    return text, w.plus("Points in all", first, drawn)


def quiz_points(d: Draw, w: Work) -> tuple[str, int]:
    a, right, plus, wrong, minus = folk(d, 1)[0], d.number(8, 20), d.number(4, 6), d.number(2, 7), d.number(1, 3)
    got = w.times("Points for right answers", right, plus)
    off = w.times("Points taken off", wrong, minus)
    off_text = "1 point" if minus == 1 else f"{minus} points"
    text = d.pick(
        f"In a quiz a right answer brings {plus} points and a wrong one costs {off_text}. {a} has {right} right and "
        f"{wrong} wrong answers. How many points is that?",
        f"{a} answers {right + wrong} questions, {wrong} of them wrongly and {right} correctly. Each correct one "
        f"counts {plus} points, and {off_text} {'is' if minus == 1 else 'are'} taken off for each wrong one. What is "
        f"the score?",
        f"With {plus} points for each of {right} correct answers and {off_text} off for each of {wrong} mistakes, "
        f"what does {a} score?",
    )
    return text, w.minus("Points in all", got, off)


def three_weights(d: Draw, w: Work) -> tuple[str, int]:
    (a, b, c), first, second, third = folk(d, 3), d.number(30, 80), d.number(30, 80), d.number(30, 80)
    both = w.plus(f"{a} and {b}", first, second)
    text = d.pick(
        f"{a} weighs {first} kg and {b} {second} kg. Together with {c} they weigh {first + second + third} kg. How "
        f"many kilograms does {c} weigh?",
        f"Three friends weigh {first + second + third} kg in all. {a}'s weight is {first} kg and {b}'s is {second} "
        f"kg. What is {c}'s weight in kilograms?",
        f"On a big scale stand {a}, {b} and {c}, and it shows {first + second + third} kg. Without {c}, the others "
        f"weigh {first} and {second} kg. How many kilograms does {c} bring?",
    )
    return text, w.minus(f"Kilograms of {c}", first + second + third, both)


def turns_washing(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), n, k, weeks = folk(d, 2), d.number(2, 4), d.number(8, 20), d.number(2, 8)
    times = w.times("Turns", n, weeks)
    text = d.pick(
        f"{a} washes the dishes {n} times a week, about {k} plates each time; {b} does the other days. How many "
        f"plates does {a} wash in {weeks} weeks?",
        f"On {n} days of every week it is {a}'s turn, not {b}'s, to iron {k} shirts. How many shirts does {a} iron "
        f"in {weeks} weeks?",
        f"In {weeks} weeks, how many cups does {a} dry, with {n} turns a week and {k} cups a turn?",
    )
    return text, w.times("In all the turns", times, k)


def letters_round(d: Draw, w: Work) -> tuple[str, int]:
    n, each = d.number(4, 12), d.number(1, 4)
    others = w.minus("Others for each one", n, 1)
    cards = (
        w.times("Cards each to all others", n, others)
        if each == 1
        else w.times("Pairs of writer and reader", n, others)
    )
    word = "one card" if each == 1 else f"{each} cards"
    text = d.pick(
        f"{n} friends move to different towns, and each sends {word} to every other one. How many cards are sent?",
        f"In a club of {n} members everyone writes {word} to each of the others. What is the number of cards in all?",
        f"How many cards are on their way if each of {n} cousins posts {word} to each other cousin?",
    )
    return text, cards if each == 1 else w.times("Cards in all", cards, each)


def queue_place(d: Draw, w: Work) -> tuple[str, int]:
    a, before, behind, leave = folk(d, 1)[0], d.number(3, 30), d.number(5, 30), d.number(2, 4)
    others = w.plus("Others in the queue", before, behind)
    total = w.plus(f"With {a}", others, 1)
    text = d.pick(
        f"In a queue {before} people stand in front of {a} and {behind} behind. Then {leave} people at the end go "
        f"away. How many people are in the queue now, with {a}?",
        f"{behind} people wait behind {a} and {before} before. When {leave} of those behind give up, how many are in "
        f"the line, {a} included?",
        f"{a} has {before} people ahead in a line and {behind} after. Counting {a} too, how many people are left "
        f"when the last {leave} leave?",
    )
    return text, w.minus("Without those who leave", total, leave)


def helpers_needed(d: Draw, w: Work) -> tuple[str, int]:
    bags, one, people = d.number(3, 9), d.number(3, 9), d.number(2, 8)
    total = bags * one * people
    each = w.times("Done by one", bags, one)
    text = d.pick(
        f"{total} bags must be carried in {one} hours. A helper carries {bags} bags an hour. How many helpers are "
        f"needed?",
        f"If every helper moves {bags} boxes per hour and {total} boxes have to go within {one} hours, how many "
        f"helpers should come?",
        f"How many people does it take to plant {total} trees in {one} hours, when each plants {bags} in an hour?",
    )
    label = "Helpers" if "helper" in text else "People"
    return text, w.over(label, total, each)


def class_average(d: Draw, w: Work) -> tuple[str, int]:
    a, mean, n = folk(d, 1)[0], d.number(16, 30), d.number(3, 6)
    parts = [mean + d.number(-3, 3) for _ in range(n - 1)]
    wanted = w.times("Sum that is needed", mean, n)
    have = parts[0]
    for part in parts[1:]:
        have = w.plus("So far", have, part)
    listed = ", ".join(map(str, parts[:-1])) + f" and {parts[-1]}"
    text = d.pick(
        f"{a} scored {listed} points in {n - 1} games. How many points in game number {n} bring the average of all "
        f"{n} games to {mean}?",
        f"The average of {n} throws should be {mean} points. So far {a} has {listed}. What must {a} throw last?",
        f"To have an average of {mean} over {n} rounds, how many points does {a} need in the last, after {listed}?",
    )
    return text, w.minus("Still needed", wanted, have)


def shared_walk(d: Draw, w: Work) -> tuple[str, int]:
    (a, b), pace, more, minutes = folk(d, 2), d.number(50, 80, 5), d.number(5, 20, 5), d.number(4, 9)
    one = w.times(f"Metres of {a}", pace, minutes)
    two = w.times(f"Metres of {b}", pace + more, minutes)
    text = d.pick(
        f"From one bench {a} and {b} walk off in opposite directions, {a} {pace} m a minute, {b} {pace + more} m a "
        f"minute. How many metres are between them after {minutes} minutes?",
        f"{a} makes {pace} m in a minute and {b} {pace + more} m. From one spot they go away from each other "
        f"for {minutes} minutes. How many metres apart are they then?",
        f"After {minutes} minutes, what distance in metres have {a} and {b} covered together, at {pace} and "
        f"{pace + more} m a minute?",
    )
    return text, w.plus("Metres of both", one, two)


def both_languages(d: Draw, w: Work) -> tuple[str, int]:
    both, first, second = d.number(3, 12), d.number(4, 20), d.number(4, 20)
    speak = w.plus("Counted in both lists", first + both, second + both)
    text = d.pick(
        f"Everyone in a group speaks French or Hindi: {first + both} speak French, {second + both} speak Hindi, and "
        f"{both} of these speak both. How many people are in the group?",
        f"{first + both} members of a club play chess and {second + both} play cards; {both} do both, and all play "
        f"something. How many members does the club have?",
        f"A list for football has {first + both} names and one for tennis {second + both}. {both} names are on both "
        f"lists. How many different names are there?",
    )
    return text, w.minus("Each counted once", speak, both)


def painters_split(d: Draw, w: Work) -> tuple[str, int]:
    (a, b, c), n, first, times = folk(d, 3), d.number(4, 12), d.number(3, 12), d.pick(2, 3)
    second = w.times(f"Doors of {b}", first, times)
    both = w.plus(f"Doors of {a} and {b}", first, second)
    text = d.pick(
        f"{both + n} doors are painted. {a} paints {first}, {b} {'twice' if times == 2 else 'three times'} as many, "
        f"and {c} all that remain. How many doors does {c} paint?",
        f"{c} paints the doors that {a} and {b} leave out of {both + n}. {a} does {first} of them and {b} does "
        f"{'double' if times == 2 else 'three times'} that number. How many are left for {c}?",
        f"Three people paint {both + n} doors. If {a} paints {first} and {b} "
        f"{'twice' if times == 2 else 'three times'} that many, how many does {c} paint?",
    )
    return text, w.minus(f"Doors of {c}", both + n, both)


MORE_PEOPLE = (
    sum_and_difference, born_in, times_as_old, votes, wins_and_draws, quiz_points, three_weights, turns_washing,
    letters_round, queue_place, helpers_needed, class_average, shared_walk, both_languages, painters_split,
)  # fmt: skip
