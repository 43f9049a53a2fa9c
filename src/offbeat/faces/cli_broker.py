"""The broker's part of `offbeat check --broker`: connects, is let in or not, and sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offbeat.errors import BrokerError
from offbeat.ports.broker_faults import broker_problem
from offbeat.ports.broker_kombu.address import TIMEOUT, broker_url
from offbeat.ports.broker_kombu.broker import BrokerKombu
from offbeat.ports.broker_kombu.promises import promises

if TYPE_CHECKING:
    from offbeat.core.model import BrokerSettings
    from offbeat.runners.site import Site


def look_at_broker(site: Site, settings: BrokerSettings) -> str:
    """Connect as a runner would; return what this broker cannot promise, and what it forbids.

    Raises ConfigError without an address, BrokerError when the broker does not let us in.
    """
    url = broker_url(site.environ, settings, site.root)
    broker = BrokerKombu(url, settings, clock=site.clock, root=site.root)
    try:
        answer = broker.reach(TIMEOUT)
        if not answer.taken:
            raise BrokerError(broker_problem(answer, f"broker {broker.where}"))
    finally:
        broker.close()
    return (
        f"{promises(url)}. It refuses messages for queues by their names: {answer.warning}" if answer.warning else promises(url)
    )
