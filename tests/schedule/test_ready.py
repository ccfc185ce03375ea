from hypothesis import given
from hypothesis import strategies as st

from raytrain.schedule.policy import Policy
from raytrain.schedule.ready import ReadyQueue
from raytrain.schedule.words import Task


def _task(number, memory_bytes, work_s, priority=0):
    return Task(
        key=str(number),
        label="",
        family="",
        engine="native",
        work_s=work_s,
        memory_bytes=memory_bytes,
        priority=priority,
    )


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 5), st.integers(-1, 1)), max_size=40))
def test_without_a_limit_the_order_is_that_of_the_ranks_then_of_arrival(sizes):
    queue, policy = ReadyQueue(), Policy()
    tasks = [_task(number, memory, float(work), priority) for number, (memory, work, priority) in enumerate(sizes)]
    for task in tasks:
        queue.push(task, policy.rank(task))
    popped = []
    while task := queue.first():
        queue.pop(task)
        popped.append(task)
    assert popped == sorted(tasks, key=policy.rank)
    assert len(queue) == 0 and queue.work_s == 0


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 5)), max_size=40), st.integers(0, 100))
def test_under_a_limit_the_answer_fits_and_is_found_when_half_the_room_is_enough(sizes, room):
    queue = ReadyQueue()
    tasks = [_task(number, memory, float(work)) for number, (memory, work) in enumerate(sizes)]
    for task in tasks:
        queue.push(task, (0.0, -task.work_s, ""))
    found = queue.first(room)
    assert found is None or found.memory_bytes <= room
    assert found is not None or all(task.memory_bytes * 2 > room for task in tasks)


def test_a_cleared_queue_is_as_new():
    queue = ReadyQueue()
    queue.push(_task(0, 1, 1.0), (0.0, 0.0, ""))
    queue.blocked, queue.passed = True, 3
    queue.clear()
    assert (len(queue), list(queue), queue.first(), queue.work_s) == (0, [], None, 0.0)
    assert (queue.blocked, queue.passed) == (False, 0)
