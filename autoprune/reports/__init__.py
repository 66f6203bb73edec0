"""Looking at runs: TensorBoard, progress, tables, an HTML page, comparisons.

Reads a run's files and plain values. TensorBoard and matplotlib are imported when they are needed.
"""

from autoprune.reports.compare import compare, pareto_picture
from autoprune.reports.html.pages import write_html
from autoprune.reports.progress import Progress
from autoprune.reports.tables import summary_lines, summary_table
from autoprune.reports.tensorboard.search import SearchWriter
from autoprune.run.report import Report, read_report

__all__ = [
    "Progress",
    "Report",
    "SearchWriter",
    "compare",
    "pareto_picture",
    "read_report",
    "summary_lines",
    "summary_table",
    "write_html",
]
