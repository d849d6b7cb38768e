"""What is measured, in this order. A topic for the fan-out of the dashboard belongs at the end."""

from benchmarks.topics.dict_operations import FOREIGN, OPERATIONS
from benchmarks.topics.far_away import FAR
from benchmarks.topics.following import FOLLOWING
from benchmarks.topics.runs import RUNS
from benchmarks.topics.sharing import SHARING
from benchmarks.topics.starting import STARTING

TOPICS = (OPERATIONS, FOREIGN, FAR, RUNS, SHARING, FOLLOWING, STARTING)
