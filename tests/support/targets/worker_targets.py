"""Targets of a user's own, good and bad, as the worker process imports them."""

import os
import sys
import time

from autoprune.hardware import LocalTarget


class SleepTarget(LocalTarget):
    """A payload is a number of milliseconds, spent in a loop."""

    name = "sleep"

    def available(self):
        return None

    def versions(self):
        return {"runtime": "sleep 1"}

    def pack(self, model, example):
        return b"1"

    def load(self, payload):
        limit = float(payload) * 1e-3

        def spin():
            end = time.thread_time() + limit
            while time.thread_time() < end:
                pass

        return spin


class MeteredTarget(SleepTarget):
    """Takes 2 mJ a call, by a RAPL made of files that wraps after 10 J; the counter stands near its end."""

    name = "metered"

    def sensors(self):
        import tempfile
        from pathlib import Path

        from autoprune.hardware.sensors.telemetry import Sensors

        self.root = Path(tempfile.mkdtemp())
        self.zone = self.root / "sys/class/powercap/intel-rapl:0"
        self.zone.mkdir(parents=True)
        (self.zone / "name").write_text("package-0")
        (self.zone / "max_energy_range_uj").write_text("10000000")
        (self.zone / "energy_uj").write_text("9980000")
        return Sensors(root=self.root)

    def load(self, payload):
        spin, meter = super().load(payload), self.zone / "energy_uj"

        def call():
            spin()
            meter.write_text(str((int(meter.read_text()) + 2000) % 10000000))

        return call


class CrashTarget(SleepTarget):
    name = "crash"

    def load(self, payload):
        print("the board caught fire", file=sys.stderr, flush=True)
        os._exit(7)


class RaisingTarget(SleepTarget):
    name = "raising"

    def load(self, payload):
        raise RuntimeError("first line\nsecond line")


class NoisyTarget(SleepTarget):
    name = "noisy"

    def load(self, payload):
        print("a runtime that greets on standard output")
        os.write(1, b"twice\n")
        return super().load(payload)


class HangingTarget(SleepTarget):
    name = "hanging"

    def load(self, payload):
        return lambda: time.sleep(60)


class MissingTarget(SleepTarget):
    name = "missing"

    def available(self):
        return "no board is plugged in; plug it in"
