"""The tasks about words, lists and stories that Ponder can work out."""

from ponder.data.worked.base_conversion import BASE_CONVERSION
from ponder.data.worked.color_cube_rotation import COLOR_CUBE_ROTATION
from ponder.data.worked.leg_counting import LEG_COUNTING
from ponder.data.worked.letter_counting import LETTER_COUNTING
from ponder.data.worked.number_filtering import NUMBER_FILTERING
from ponder.data.worked.number_sorting import NUMBER_SORTING
from ponder.data.worked.plain import PLAIN_QUESTIONS
from ponder.data.worked.source import WorkedSource
from ponder.data.worked.spell_backward import SPELL_BACKWARD
from ponder.data.worked.spelling import SPELLING
from ponder.data.worked.stories import NEW_STORIES, STORIES
from ponder.data.worked.word_sequence_reversal import WORD_SEQUENCE_REVERSAL

WORD_TASKS: tuple[WorkedSource, ...] = (
    LETTER_COUNTING,
    SPELL_BACKWARD,
    NUMBER_SORTING,
    NUMBER_FILTERING,
    LEG_COUNTING,
    BASE_CONVERSION,
    COLOR_CUBE_ROTATION,
    WORD_SEQUENCE_REVERSAL,
    SPELLING,
    PLAIN_QUESTIONS,
    STORIES,
    NEW_STORIES,  # measured alone: it has no training problems
)
