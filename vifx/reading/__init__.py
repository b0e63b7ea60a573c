"""Reading comprehension as a conditional joint, q(answer | question, passages): questions, features, answers.

>>> from vifx import reading
>>> question = reading.generate_questions(1, seed=0)[0]
>>> len(question.answers)
1
"""

from __future__ import annotations

__all__ = [
    "ARTICLE",
    "CODE",
    "FEATURES",
    "Answer",
    "Config",
    "Encoded",
    "Form",
    "Passage",
    "Place",
    "Question",
    "Reader",
    "Reading",
    "Spans",
    "Tokens",
    "Unit",
    "Vectors",
    "Vocabulary",
    "answers",
    "best_spans",
    "drop_answers",
    "drop_tokens",
    "edit_distances",
    "encode",
    "ensemble",
    "exact_match",
    "f1",
    "features",
    "folds",
    "generate_questions",
    "heat_map",
    "jaccard_similarities",
    "load",
    "measured",
    "normalized",
    "read_questions",
    "read_vectors",
    "splice",
    "stack_members",
    "tokenize",
    "vote",
]

from typing import TYPE_CHECKING

from vifx.lazy import make_lazy

if TYPE_CHECKING:
    from vifx.reading.answer import Answer, Place
    from vifx.reading.augment import drop_answers, drop_tokens, splice
    from vifx.reading.decode import Spans, answers, best_spans, vote
    from vifx.reading.encode import Encoded, encode
    from vifx.reading.ensemble import ensemble, folds, stack_members
    from vifx.reading.figure import heat_map
    from vifx.reading.form import ARTICLE, CODE, Form
    from vifx.reading.invented import generate_questions
    from vifx.reading.load import Reading, load
    from vifx.reading.questions import Passage, Question
    from vifx.reading.reader import Reader
    from vifx.reading.reading_config import Config
    from vifx.reading.scores import exact_match, f1, measured
    from vifx.reading.sources import read_questions
    from vifx.reading.token_features import FEATURES, edit_distances, features, jaccard_similarities
    from vifx.reading.tokens import Tokens, Unit, normalized, tokenize
    from vifx.reading.vectors import Vectors, read_vectors
    from vifx.reading.vocabulary import Vocabulary

make_lazy(__name__)
