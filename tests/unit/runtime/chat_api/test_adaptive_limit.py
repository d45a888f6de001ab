"""How many requests are in flight."""

from runtime.chat_api.adaptive_limit import AdaptiveLimit


def test_a_full_round_of_answers_makes_room_for_one_more():
    limit = AdaptiveLimit(20, most=100)
    for _ in range(20):
        limit.answered()
    assert round(limit.limit, 6) == 21


def test_requests_refused_at_once_are_one_episode():
    limit = AdaptiveLimit(20, most=100)
    for _ in range(20):
        limit.throttled(sent=0.0, now=10.0)
    assert (limit.width, limit.episodes) == (16, 1)


def test_an_answer_to_what_was_sent_before_the_limit_fell_tells_nothing_new():
    limit = AdaptiveLimit(20, most=100)
    for _ in range(20):
        limit.throttled(sent=0.0, now=10.0)
    limit.throttled(sent=9.9, now=25.0)
    assert limit.width == 16
    limit.throttled(sent=10.1, now=25.0)
    assert (limit.width, limit.episodes) == (12, 2)


def test_a_refusal_now_and_then_costs_no_place():
    limit = AdaptiveLimit(16, most=16)
    for request in range(800):
        if request % 20 == 0:
            limit.throttled(sent=float(request), now=float(request))
        else:
            limit.answered()
    assert (limit.width, limit.episodes) == (16, 0)


def test_where_one_in_five_is_refused_it_falls():
    limit = AdaptiveLimit(16, most=16)
    for request in range(200):
        if request % 5 == 0:
            limit.throttled(sent=float(request), now=float(request))
        else:
            limit.answered()
    assert limit.episodes > 5


def test_one_at_a_time_every_refusal_counts():
    limit = AdaptiveLimit(1, most=16)
    limit.throttled(sent=0.0, now=1.0)
    assert limit.episodes == 1


def test_it_stays_between_one_and_the_most():
    limit = AdaptiveLimit(20, most=16)
    assert limit.width == 16
    limit.answered()
    assert limit.width == 16
    for second in range(100):
        limit.throttled(sent=2.0 * second, now=2.0 * second)
    assert limit.width == 1
