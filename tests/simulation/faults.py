"""What goes wrong: drawn from the seed, and over after a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from shared import keys
from tests.simulation.clock import Process
from tests.simulation.gate import Strike, is_far

if TYPE_CHECKING:
    from tests.simulation.world import World

RATE = 0.05
AMBIGUOUS_SECONDS = 10.0
STRUCK = (
    *("ledger.register_job", "ledger.feed", "ledger.claim", "ledger.advance", "ledger.finish"),
    *(
        "ledger.rescue_held",
        "ledger.rescue_queued",
        "ledger.give_back",
        "ledger.leave",
        "ledger.renew",
    ),
    *("ledger.still_staged", "ledger.close_job", "ledger.reopen", "ledger.set"),
    *("store.create", "store.get", "store.list", "store.exists", "store.delete"),
    *("broker.send.headrace.preprocess", "broker.send.headrace.inference"),
    *("broker.send.headrace.results", "broker.take", "broker.length"),
    *("staging.reserve", "staging.rpushx", "staging.lrange", "staging.pipeline"),
    *("slot.open", "slot.look", "slot.write", "slot.close", "pixels.write", "pixels.read"),
)


class Faults:
    """The faults of one seed. ``end``: when the last of them is over, in seconds."""

    def __init__(self, world: World) -> None:
        self._world, self._chance = world, world.chance
        self.span = self._chance.choice((1.0, 2.0, 5.0))
        self.end = 0.0
        self._kinds: tuple[Callable[[], None], ...] = (
            *(self._strike_dead, self._strike_dead, self._freeze_at_a_call, self._kill),
            *(self._outage, self._wipe, self._lose_a_second, self._lose_messages),
            *(self._double_messages, self._stop, self._stop_all),
            *(self._cut_the_cable, self._vanish),
            *(
                self._cancel,
                self._break_class,
                self._lose_model,
                self._change_bucket,
                self._lose_chunk_file,
                self._usurp,
                self._skew,
            ),
        )
        self.names: list[str] = []

    def arrange(self) -> None:
        """Draw them: none at all in a tenth of the seeds, up to seven otherwise."""
        if self._chance.random() < 0.1:
            return
        kinds = [self._chance.choice(self._kinds) for _ in range(self._chance.randint(0, 6))]
        if not kinds or self._chance.random() < 0.5:
            kinds.append(self._ambiguous)
        for kind in kinds:
            self.names.append(kind.__name__.strip("_"))
            kind()
        self._world.later(self.span, self._over)

    def _over(self) -> None:
        self._world.gate.strikes.clear()
        self._world.broker.copies.clear()

    def _at_a_moment(self, blow: Callable[[], object]) -> None:
        """At a time, or when somebody does something: the narrow moments are there."""
        if self._chance.random() < 0.5:
            self._strike(lambda _: self._world.later(0.0, blow))
        else:
            self._lasts_until(self.span)
            self._world.later(self._chance.random() * self.span, blow)

    def _lasts_until(self, moment: float) -> None:
        self.end = max(self.end, moment)

    def _strike(self, blow: Callable[[Process], None]) -> None:
        self._lasts_until(self.span)
        strike = Strike(
            self._chance.choice(STRUCK),
            1 + int(self._chance.expovariate(0.2)),
            self._chance.random() < 0.5,
            blow,
        )
        self._world.gate.strikes.append(strike)

    def _strike_dead(self) -> None:
        for _ in range(self._chance.randint(1, 4)):
            self._strike(self._world.kill)

    def _freeze_at_a_call(self) -> None:
        self._strike(lambda process: self._freeze(process))

    def _freeze(self, process: Process) -> None:
        if process is self._world.init:
            return
        process.frozen_until = self._world.clock.now + self._chance.choice((0.5, 4.0, 10.0))
        self._lasts_until(process.frozen_until)
        self._world.clock.park(0.0)

    def _kill(self) -> None:
        def kill() -> None:
            for running in self._world.any_running():
                self._world.kill(running.process)

        self._at_a_moment(kill)

    def _outage(self) -> None:
        service = self._chance.choice(("ledger", "broker", "store", "staging"))
        seconds = self._chance.choice((0.5, 4.0, 10.0))

        def begin() -> None:
            until = self._world.clock.now + seconds
            self._world.gate.down_until[service] = until
            self._lasts_until(until)

        self._at_a_moment(begin)

    def _wipe(self) -> None:
        ledger, broker = self._chance.choice(((True, True), (True, False), (False, True)))
        parcels = self._chance.random() < 0.5

        def wipe() -> None:
            if ledger:
                self._world.audit.wiped()
                self._world.server.wipe()
            if broker:
                self._world.broker.wipe()
            if parcels:
                self._world.parcels.wipe()

        self._at_a_moment(wipe)

    def _cut_the_cable(self) -> None:
        """The far host reaches nobody, for less than it is waited for or for more."""
        seconds = self._chance.choice((1.0, 6.0, 15.0))

        def cut() -> None:
            self._world.gate.cut_until = self._world.clock.now + seconds
            self._lasts_until(self._world.gate.cut_until)

        self._at_a_moment(cut)

    def _vanish(self) -> None:
        """The far host is gone with all that ran there, and comes back one day."""
        seconds = self._chance.choice((1.0, 6.0, 20.0))

        def vanish() -> None:
            world = self._world
            world.away_until = world.clock.now + seconds
            self._lasts_until(world.away_until)
            for name, running in list(world.running.items()):
                if is_far(name):
                    world.kill(running.process)

        self._at_a_moment(vanish)

    def _lose_a_second(self) -> None:
        def lose() -> None:
            world, lost_seconds = self._world, self._chance.random()
            ledger, broker = world.server.remember(), world.broker.remember()

            def restore() -> None:
                world.audit.forget()
                world.server.restore(ledger)
                world.broker.restore(broker)

            world.later(lost_seconds, restore)
            self._lasts_until(world.clock.now + lost_seconds)

        self._at_a_moment(lose)

    def _lose_messages(self) -> None:
        self._send_copies((0, 1, 1))

    def _double_messages(self) -> None:
        self._send_copies((2, 1))

    def _send_copies(self, counts: tuple[int, ...]) -> None:
        drawn = [self._chance.choice(counts) for _ in range(12)]
        self._at_a_moment(lambda: self._world.broker.copies.extend(drawn))

    def _ambiguous(self) -> None:
        """Every call may fail, stall, do its work and report failure, or be done twice."""
        gate = self._world.gate
        gate.rate = RATE
        self._lasts_until(AMBIGUOUS_SECONDS)
        self._world.later(AMBIGUOUS_SECONDS, lambda: setattr(gate, "rate", 0.0))

    def _stop(self) -> None:
        self._at_a_moment(lambda: [running.stop() for running in self._world.any_running()])

    def _stop_all(self) -> None:
        def stop_all() -> None:
            for running in list(self._world.running.values()):
                running.stop()

        self._at_a_moment(stop_all)

    def _cancel(self) -> None:
        spec = self._chance.choice(self._world.specs)
        self._at_a_moment(lambda: self._world.cancel(spec))

    def _break_class(self) -> None:
        spec = self._chance.choice(self._world.specs)
        self._at_a_moment(lambda: self._world.stand_ins.broken.add(spec.job_id))

    def _lose_model(self) -> None:
        spec = self._chance.choice(self._world.specs)
        self._at_a_moment(lambda: self._world.stand_ins.lost.add(spec.job_id))

    def _change_bucket(self) -> None:
        for _ in range(self._chance.randint(1, 4)):
            self._at_a_moment(self._world.change_bucket)

    def _lose_chunk_file(self) -> None:
        def lose() -> None:
            objects = self._world.store.buckets["state"]
            folders = [keys.chunks_prefix(spec.job_id) for spec in self._world.specs]
            files = [key for key in objects if key.startswith(tuple(folders))]
            if files:
                key = self._chance.choice(files)
                self._world.audit.lose(key)
                del objects[key]

        self._at_a_moment(lose)

    def _usurp(self) -> None:
        if self._chance.random() < 0.5:  # both find the job at once
            self._world.later(0.01 * self._chance.random(), lambda: self._world.start("usurper-1"))
            return
        self._at_a_moment(lambda: self._world.start("usurper-1"))

    def _skew(self) -> None:
        for name in self._world.names:
            self._world.skews[name] = self._chance.choice((0.0, 3600.0, -3600.0))
