"""What is checked in every run, and what is found there."""

import pytest

from octopi.checks.run_report import RunReport
from octopi.errors import DataError, NoAnswerError


@pytest.mark.parametrize("text", ["it is odd", "Run a: it is odd", "Run a it is odd"])
def test_an_issue_names_its_run_once(text):
    report = RunReport("a")
    report.add_issue(text)
    assert [str(issue) for issue in report.issues] == ["a: it is odd"]


@pytest.mark.parametrize("blocks_training", [True, False])
def test_an_error_is_an_issue_but_for_a_server_that_does_not_answer(blocks_training):
    report = RunReport("a")
    with report.errors_as_issues(blocks_training=blocks_training):
        raise DataError("Run a: the tomogram is damaged.")
    (issue,) = report.issues
    assert (issue.text, issue.blocks_training) == ("the tomogram is damaged.", blocks_training)
    with pytest.raises(NoAnswerError), report.errors_as_issues(blocks_training=blocks_training):
        raise NoAnswerError("away")
    assert len(report.issues) == 1
