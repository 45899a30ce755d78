"""A real mail server on loopback, for the tests of the email channel.

One argument, JSON: "security" ("starttls", "tls" or "none"), "certificate" and "key" (files),
"user" and "password" (null: no login). Prints its port, then one line of JSON for each accepted message:
the envelope, the connection, and the message as read by Python's parser.
"""

import asyncio
import email
import email.policy
import json
import logging
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        part = lambda kind: message.get_body((kind,)).get_content()
        record = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "encrypted": session.ssl is not None,
            "logged_in": session.authenticated,
            "raw": envelope.original_content.decode("ascii"),
            "header": {name.lower(): str(value) for name, value in message.items()},
            "defects": [repr(defect) for part in message.walk() for defect in part.defects],
            "plain": part("plain"),
            "html": part("html"),
        }
        print(json.dumps(record), flush=True)
        return "250 2.0.0 Ok: queued as 4711"


async def main(wanted):
    context = None
    if wanted["security"] != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(wanted["certificate"], wanted["key"])

    def authenticator(server, session, envelope, mechanism, data):
        known = (data.login.decode(), data.password.decode()) == (wanted["user"], wanted["password"])
        return AuthResult(success=known, handled=False)

    def session():
        is_starttls = wanted["security"] == "starttls"
        return SMTP(
            Handler(),
            hostname="mail.test",
            tls_context=context if is_starttls else None,
            require_starttls=is_starttls,
            authenticator=authenticator if wanted["user"] else None,
            auth_required=bool(wanted["user"]),
            auth_require_tls=is_starttls,
            loop=asyncio.get_running_loop(),
        )

    is_tls = wanted["security"] == "tls"
    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=context if is_tls else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# aiosmtpd warns about logins without encryption and disconnecting clients, which the tests use.
warnings.simplefilter("ignore")
logging.disable()
asyncio.run(main(json.loads(sys.argv[1])))
