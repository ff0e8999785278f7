"""What is wrong with TLS, in a sentence."""

from __future__ import annotations

import ssl

#: What to do about a certificate, by OpenSSL's number of what is wrong with it.
_EXPIRED, _OTHER_HOST, _OTHER_IP = 10, 62, 64
_BY_NUMBER = {
    _EXPIRED: "renew it there",
    _OTHER_HOST: "write the host that it is for",
    _OTHER_IP: "write the host that it is for",
}


def tls_problem(error: BaseException | None) -> str | None:
    """What a server's TLS does, and what to do about it; nothing where this error did not come of TLS."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    match error:
        case None | ssl.SSLEOFError() | ssl.SSLZeroReturnError():  # who hangs up does not say why
            return None
        case ssl.SSLCertVerificationError():
            fix = _BY_NUMBER.get(error.verify_code, "name the file of who signed it with ?ssl_ca_certs=FILE")
            return f"shows a certificate that is not trusted ({error.verify_message.rstrip('.')}); {fix}"
        case _ if "ALERT" in (error.reason or ""):
            return f"refuses our TLS ({error.reason}); give a certificate that it trusts with ?ssl_certfile=FILE&ssl_keyfile=FILE"
        case _:
            return f"does not speak TLS as we do ({error.reason or error}); write redis:// where it has none"
