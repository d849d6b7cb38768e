"""What is measured, in this order."""

from benchmarks.topics.dict_operations import FOREIGN, OPERATIONS
from benchmarks.topics.far_away import FAR
from benchmarks.topics.following import FOLLOWING
from benchmarks.topics.runs import RUNS
from benchmarks.topics.sharing import SHARING
from benchmarks.topics.showing import SHOWING
from benchmarks.topics.starting import STARTING

TOPICS = (OPERATIONS, FOREIGN, FAR, RUNS, SHARING, FOLLOWING, STARTING, SHOWING)
