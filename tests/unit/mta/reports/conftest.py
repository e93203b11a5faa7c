from tests.unit.mta.smtp_server.conftest import internal_errors_expected, logs

__all__ = ["internal_errors_expected", "logs"]
