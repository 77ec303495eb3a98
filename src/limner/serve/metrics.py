"""What Prometheus is told: how many, how long, how full. Nothing of the pictures."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from limner.serve.line import Line

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The numbers of a server."""

    def __init__(self, line: Line) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("limner_requests", "Requests answered.", ["operation", "status"], registry=self._registry)
        self.painting = Histogram(
            "limner_painting_seconds",
            "From a photograph's bytes to its painting's, without waiting.",
            ["style"],
            buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
            registry=self._registry,
        )
        self.pixels = Counter("limner_painted_pixels", "Pixels painted.", registry=self._registry)
        self.jobs = Gauge("limner_jobs", "Jobs that wait or are in work.", registry=self._registry)
        waiting = Gauge("limner_line_waiting", "Pictures that wait.", registry=self._registry)
        running = Gauge("limner_line_running", "Pictures in work.", registry=self._registry)
        waiting.set_function(lambda: max(line.taken - line.running, 0))
        running.set_function(lambda: line.running)

    def text(self) -> bytes:
        return generate_latest(self._registry)
