"""Prints the Grafana dashboard: ``python deploy/monitoring/dashboard.py > deploy/monitoring/dashboard.json``.

It shows the records of rules.yml and the gauges of docs/monitoring.md. The library is the ``test`` extra's, for Python
3.11 and later. Grafana imports the JSON without it.
"""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${source}")
CHOSEN = 'model=~"$model"'
NAME = "{{model}} {{variant}}"
WIDTH, HEIGHT = 8, 8  # of Grafana's 24 columns: three panels in a row


@dataclass(frozen=True)
class Chart:
    """A panel. ``lines`` are pairs of a query and the legend of its series; ``unit`` is Grafana's name of one."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    about: str


def query(record: str, labels: str = "") -> str:
    """The query of a record or gauge for the models that the reader chose."""
    return f"{record}{{{CHOSEN}{', ' + labels if labels else ''}}}"


TOTAL = 'stage="total"'
MEMORY, GPU = "tsi_gpu_memory_used_bytes / tsi_gpu_memory_total_bytes", "GPU {{gpu}} {{uuid}}"
ROWS = {
    "Requests": (
        Chart("Requests per second", "reqps", ((query("model_status:tsi_requests:rate5m"), f"{NAME} {{{{status}}}}"),),
              "Requests that reached a model, by the class of their answer."),
        Chart("Share of failed requests", "percentunit", ((query("model:tsi_failed_requests:ratio5m"), NAME),),
              "Answers of 500 and above."),
        Chart("Errors per second", "reqps",
              (('sum by (model, variant, kind) (model_kind:tsi_errors:rate5m{model=~"$model|"} > 0)',
                f"{NAME} {{{{kind}}}}"),),
              "By kind. Without a model: requests that were refused before a model was known."),
    ),
    "Time": (
        Chart("Median", "s", ((query("model_stage:tsi_request_duration_seconds:p50_5m", TOTAL), NAME),),
              "Of requests with a good answer, from the whole request to its answer."),
        Chart("99th percentile", "s", ((query("model_stage:tsi_request_duration_seconds:p99_5m", TOTAL), NAME),),
              "Of requests with a good answer, from the whole request to its answer."),
        Chart("99th percentile of each stage", "s",
              ((query("model_stage:tsi_request_duration_seconds:p99_5m", 'stage!="total"'), f"{NAME} {{{{stage}}}}"),),
              "queue: the wait for a worker. The others are the time of the whole batch in the worker."),
    ),
    "Queue and batches": (
        Chart("Queue", "short", ((query("tsi_queue_length"), NAME),), "Requests that wait for a worker."),
        Chart("Batch size", "short", ((query("model:tsi_batch_size:mean5m"), NAME),),
              "Requests that a worker got at once, on average."),
        Chart("Tokens and pixels per second", "short",
              ((query("model:tsi_tokens:rate5m"), f"{NAME} tokens"),
               (query("model:tsi_pixels:rate5m"), f"{NAME} pixels")),
              "Tokens that the models read, without padding; pixels of the images as sent."),
    ),
    "Workers and tokens": (
        Chart("Workers", "short",
              ((query("tsi_workers_ready"), f"{NAME} ready"), (query("tsi_workers_wanted"), f"{NAME} wanted")),
              "Workers that have the model loaded, and those that it is to have."),
        Chart("Restarts in 15 minutes", "short", ((f"increase({query('tsi_worker_restarts_total')}[15m])", NAME),),
              "Workers that were started again after they had ended."),
        Chart("Time until a token expires", "s", (("tsi_token_expiry_timestamp_seconds - time()", "{{token}}"),),
              "Below 0 the API refuses the token."),
    ),
    "GPUs": (
        Chart("GPU memory in use", "percentunit", ((f"max by (gpu, uuid) ({MEMORY})", GPU),),
              "Of all programs on the GPU. Empty where the server has none."),
        Chart("GPU utilisation", "percentunit", (("max by (gpu, uuid) (tsi_gpu_utilization_ratio)", GPU),),
              "Share of the last moment in which the GPU computed. Empty with MIG."),
    ),
}  # fmt: skip


def panel(chart: Chart) -> timeseries.Panel:
    """The chart as a builder of a panel."""
    legend = common.VizLegendOptions().show_legend(True).placement(kinds.LegendPlacement.BOTTOM)
    made = timeseries.Panel().title(chart.title).description(chart.about).unit(chart.unit).datasource(SOURCE)
    made.legend(legend.display_mode(kinds.LegendDisplayMode.LIST)).axis_soft_min(0).span(WIDTH).height(HEIGHT)
    for number, (expression, shown) in enumerate(chart.lines):
        made.with_target(prometheus.Dataquery().expr(expression).legend_format(shown).ref_id("AB"[number]))
    return made


def built() -> models.Dashboard:
    """The whole dashboard."""
    made = dashboard.Dashboard("TorchServe archives").uid("torchscript-inference").tags(["torchserve"]).readonly()
    made.time("now-1h", "now").refresh("30s").timezone("browser")
    made.with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    model = dashboard.QueryVariable("model").label("Model").datasource(SOURCE).multi(True).include_all(True)
    model.query("label_values(tsi_workers_wanted, model)").refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    made.with_variable(model)
    for title, charts in ROWS.items():
        made.with_row(dashboard.Row(title))
        for chart in charts:
            made.with_panel(panel(chart))
    return made.build()


if __name__ == "__main__":
    print(JSONEncoder(sort_keys=True, indent=2).encode(built()))
