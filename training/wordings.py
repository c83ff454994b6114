"""The wordings of each kind of question: texts with placeholders for the content."""

from __future__ import annotations

ADD = (
    "What is {a} + {b}?",
    "Add {a} and {b}.",
    "{a} + {b} = ?",
    "Calculate {a} plus {b}.",
    "How much is {a} + {b}?",
    "What is the sum of {a} and {b}?",
    "What do you get if you add {b} to {a}?",
    "{x} has {a} {f} and buys {b} more. How many {f} does {x} have?",
    "{x} has {a} {f}. {y} gives {x} {b} more. How many {f} does {x} have now?",
    "{x} has {a} {f} and {y} has {b} {f}. How many {f} do they have together?",
)
SUBTRACT = (
    "What is {a} - {b}?",
    "Subtract {b} from {a}.",
    "{a} - {b} = ?",
    "Calculate {a} minus {b}.",
    "How much is {a} - {b}?",
    "What is the difference between {a} and {b}?",
    "Take {b} away from {a}.",
    "{x} has {a} {f} and sells {b}. How many {f} are left?",
    "{x} has {a} {f} and gives {y} {b} of them. How many {f} does {x} have left?",
    "There are {a} {f} in a box. {x} takes {b} out. How many {f} are left?",
)
PLAIN_ADD = (*ADD[:6], ADD[7])
PLAIN_SUBTRACT = (SUBTRACT[0], *SUBTRACT[2:6], SUBTRACT[7])
COMPARE = (
    "Which is {}, {} or {}?",
    "Which number is {}: {} or {}?",
    "What is the {} of {} and {}?",
    "Tell me the {} number: {} or {}.",
    "Of {1} and {2}, which is {0}?",
    "Pick the {} one: {} or {}.",
)
EXTREME = (
    "What is the {} of {}?",
    "Which number is the {}: {}?",
    "Find the {} number: {}.",
    "Which is the {} of {}?",
    "Tell me the {} of the numbers {}.",
    "Of {1}, which is the {0}?",
)
SORT = (
    "Sort {}.",
    "Sort these numbers: {}.",
    "Put {} in order.",
    "Order the numbers {}.",
    "Sort {} from small to large.",
    "Arrange {} from smallest to largest.",
)
MOVES = (
    "{} is in the {}.",
    "{} went to the {}.",
    "{} walked to the {}.",
    "{} moved to the {}.",
    "{} ran to the {}.",
    "{} goes to the {}.",
)
PUTS = ("{} put the {} in the {}.", "{} left the {} in the {}.", "{} moved the {} to the {}.")
WHERE = ("Where is {}?", "Where is {} now?", "In which place is {}?", "Tell me where {} is.")
WHERE_THING = (
    "Where is the {}?",
    "Where is the {} now?",
    "In which place is the {}?",
    "Tell me where the {} is.",
)
WHO = (
    "Who is in the {}?",
    "Who is in the {} now?",
    "Which person is in the {}?",
    "Tell me who is in the {}.",
)
REVERSE = (
    "Reverse the word {}.",
    "Write {} backwards.",
    "Spell {} backwards.",
    "What is {} in reverse?",
    "What is {} backwards?",
    "Turn the word {} around.",
    "Reverse {}.",
)
SPELL = (
    "Spell the word {}.",
    "Spell {}.",
    "How do you spell {}?",
    "Spell out {}.",
    "Spell {} letter by letter.",
    "Write {} with hyphens.",
)
FIRST = (
    "What is the first letter of {}?",
    "Which letter does {} start with?",
    "Give me the first letter of {}.",
    "Name the first letter of {}.",
    "What letter does {} begin with?",
    "{}: what is the first letter?",
)
LAST = (
    "What is the last letter of {}?",
    "Which letter does {} end with?",
    "Give me the last letter of {}.",
    "Name the last letter of {}.",
    "What letter does {} end with?",
    "{}: what is the last letter?",
)
DAY_AFTER = (
    "What day is {n} days after {d}?",
    "Which day comes {n} days after {d}?",
    "If today is {d}, what day is it in {n} days?",
    "Today is {d}. What day is it in {n} days?",
    "It is {d}. Which day is it {n} days later?",
    "Name the day {n} days after {d}.",
    "What weekday is {d} plus {n} days?",
    "Which weekday is {n} days after {d}?",
    "Count {n} days on from {d}.",
    "Start on {d} and wait {n} days. What day is it?",
)
DAY_BEFORE = (
    "What day is {n} days before {d}?",
    "Which day comes {n} days before {d}?",
    "If today is {d}, what day was it {n} days ago?",
    "Today is {d}. What day was it {n} days ago?",
    "It is {d}. Which day was it {n} days earlier?",
    "Name the day {n} days before {d}.",
    "What weekday is {d} minus {n} days?",
    "Which weekday is {n} days before {d}?",
    "Count {n} days back from {d}.",
    "{d} is {n} days after which day?",
)
MONTH_AFTER = (
    "Which month comes after {}?",
    "What month follows {}?",
    "Name the month after {}.",
    "What is the next month after {}?",
    "It is {}. What is the next month?",
    "Tell me the month after {}.",
    "Which month is right after {}?",
    "After {} comes which month?",
)
MONTH_BEFORE = (
    "Which month comes before {}?",
    "What month precedes {}?",
    "Name the month before {}.",
    "What is the month just before {}?",
    "It is {}. What was the last month?",
    "Tell me the month before {}.",
    "Which month is right before {}?",
    "Before {} comes which month?",
)
MONTH_LENGTH = (
    "How many days does {} have?",
    "How many days are in {}?",
    "How long is {} in days?",
    "How many days are there in {}?",
    "Tell me the number of days in {}.",
    "What is the number of days of {}?",
    "{} has how many days?",
    "Give me the length of {} in days.",
)
CONVERT = (
    "How many {s} are {n} {l}?",
    "How many {s} are in {n} {l}?",
    "Convert {n} {l} to {s}.",
    "What is {n} {l} in {s}?",
    "{n} {l} is how many {s}?",
    "Change {n} {l} into {s}.",
    "Give {n} {l} in {s}.",
    "How many {s} make {n} {l}?",
    "Express {n} {l} in {s}.",
    "{n} {l} = ? {s}",
    "Write {n} {l} as {s}.",
    "Tell me how many {s} are in {n} {l}.",
)
