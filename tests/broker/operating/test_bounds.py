"""What grows with the work done, and until when it is kept."""

from __future__ import annotations

from redis import Redis

from atomic_commit import Limits
from atomic_commit.workers.settings import KEPT_AFTER_DEADLINE
from tests.broker.shopkeeper import Shopkeeper


def test_every_result_is_gone_soon_after_the_deadline_of_its_transaction(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    answer = shop.place_order(ada, {tea: 1})
    assert shop.settled(answer) == "committed"
    with Redis.from_url(shop.shop.result_backend_url) as redis:
        results = [key for key in redis.scan_iter("celery-task-meta-*") if answer.transaction.encode() in key]
        lives = {key: redis.ttl(key) for key in results}
    assert len(lives) == 3, "both branches and the decision"
    longest = Limits().deadline + KEPT_AFTER_DEADLINE
    assert all(Limits().deadline < life <= longest for life in lives.values()), lives
