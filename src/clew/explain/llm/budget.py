"""What asking may cost, and what it has cost so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

from ...errors import BudgetSpent, UsageError
from ..records import Cost

MILLION = 1_000_000


@dataclass
class Budget:
    """A limit in `tokens` sent and received, in `money`, in both or in neither, for all models that share it.

    `prices` are for a million tokens sent and a million received. It is looked at before each request is sent, so it
    is exceeded by no more than the requests that are on their way at that moment.
    """

    tokens: int | None = None
    money: float | None = None
    prices: tuple[float, float] | None = None
    spent: Cost = field(default_factory=Cost, init=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.money is not None and self.prices is None:
            raise UsageError(
                "A budget in money needs to know what tokens cost.",
                "Give a price for a million tokens sent, and for a million received.",
            )

    def check(self) -> None:
        """Raises BudgetSpent when nothing more may be sent."""
        used = self.spent.prompt_tokens + self.spent.completion_tokens
        if self.tokens is not None and used >= self.tokens:
            raise BudgetSpent(f"The budget of {self.tokens:,} tokens is spent.", _HINT)
        if self.money is not None and (self.spent.money or 0) >= self.money:
            raise BudgetSpent(f"The budget of {self.money:g} is spent.", _HINT)

    def cost(self, requests: int = 0, known: int = 0, prompt_tokens: int = 0, completion_tokens: int = 0) -> Cost:
        """What that costs at these prices."""
        money = None
        if self.prices is not None:
            money = (prompt_tokens * self.prices[0] + completion_tokens * self.prices[1]) / MILLION
        return Cost(requests, known, prompt_tokens, completion_tokens, money)

    def add(self, cost: Cost) -> None:
        with self._lock:
            self.spent += cost


_HINT = "All that was answered is kept and is not asked again: a larger budget goes on from here."


class Account(Protocol):
    """What a model is asked on: a Ledger, or one that another process keeps (distant.py)."""

    @property
    def spent(self) -> Cost: ...
    def send(self) -> None: ...
    def pay(self, prompt_tokens: int, completion_tokens: int) -> None: ...
    def know(self) -> None: ...


class Ledger:
    """What one model was asked, on a budget that others may share. Safe from several threads."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._spent = budget.cost()
        self._lock = Lock()

    @property
    def spent(self) -> Cost:
        with self._lock:
            return self._spent

    def check(self) -> None:
        """Raises BudgetSpent when nothing more may be sent."""
        self._budget.check()

    def send(self) -> None:
        """A request is sent now. Raises BudgetSpent when it must not be."""
        self.check()
        self._add(self._budget.cost(requests=1))

    def pay(self, prompt_tokens: int, completion_tokens: int) -> None:
        """What a request took."""
        self._add(self._budget.cost(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens))

    def book(self, cost: Cost) -> None:
        """What another process sent, and what that took, whose price is not known there."""
        self._add(self._budget.cost(cost.requests, cost.known, cost.prompt_tokens, cost.completion_tokens))

    def know(self) -> None:
        """An answer was known already."""
        self._add(self._budget.cost(known=1))

    def _add(self, cost: Cost) -> None:
        self._budget.add(cost)
        with self._lock:
            self._spent += cost
