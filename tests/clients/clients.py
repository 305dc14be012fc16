"""Drives the Python HTTP clients through the proxy. Its only argument is an order in JSON; each case is a line in JSON."""

import asyncio
import json
import re
import ssl
import sys
from http.client import HTTPResponse

import aiohttp
import httpx
import requests
import requests.adapters
import scrapy
import scrapy.crawler
import socks
import urllib3
import urllib3.contrib.socks

ORDER = json.loads(sys.argv[1])
TRUST = ssl.create_default_context(cafile=ORDER["ca"])
TIMEOUT = 30


def logins():
    """Ways to write a login, each with the exit that it must lead to; none where the login is wrong."""
    key = ORDER["key"]
    us, de, il = ORDER["exits"]
    yield "targeting in the password", "iploop", f"{key}-country-{us['country']}", us["ip"]
    yield "targeting in the user name", f"{key}-country-{de['country']}", "x", de["ip"]
    yield "targeting in the user name, key in the password", f"iploop-country-{il['country']}", key, il["ip"]
    yield "a wrong password", "iploop", "iploop_" + "0f" * 24, None


def targets():
    yield "HTTP", ORDER["http"]
    yield "HTTPS", ORDER["https"]


def proxies(schemes):
    """Every scheme with every login and target."""
    for scheme in schemes:
        address = ORDER["socks" if scheme.startswith("socks") else "proxy"]
        for where, user, password, ip in logins():
            for target, url in targets():
                case = f"{target} by {scheme}, {where}"
                yield case, scheme, address, user, password, url, ip


def is_refusal(case, status, detail):
    """Whether the client says that the login is to blame: by the status, by quoting it, or in its own words for SOCKS5."""
    sign = r"authentication failed|username/password" if " by socks" in case else r"\b407\b"
    return status == 407 or re.search(sign, detail, re.IGNORECASE) is not None


def report(client, case, expected, status, ip, detail=""):
    ok = status == 200 and ip == expected if expected else is_refusal(case, status, detail)
    line = {"client": client, "case": case, "ok": ok, "status": status, "exit_ip": ip, "detail": detail}
    print(json.dumps(line), flush=True)


def run(client, case, expected, request):
    """`request` returns a status and the origin's answer."""
    try:
        status, answer = request()
        report(client, case, expected, status, answer.get("ip"))
    except Exception as error:  # A case that fails in any way is reported, and the next one runs.
        report(client, case, expected, None, None, f"{error!r} {error}")


class TrustingProxy(requests.adapters.HTTPAdapter):
    """requests has no setting for what a proxy's certificate is checked by."""

    def proxy_manager_for(self, proxy, **options):
        return super().proxy_manager_for(proxy, proxy_ssl_context=TRUST, **options)


def with_requests():
    for case, scheme, address, user, password, url, ip in proxies(["http", "https", "socks5", "socks5h"]):
        proxy = f"{scheme}://{user}:{password}@{address}"

        def request():
            with requests.Session() as session:
                session.trust_env = False
                if scheme == "https":
                    session.mount("http://", TrustingProxy())
                    session.mount("https://", TrustingProxy())
                proxies = {"http": proxy, "https": proxy}
                answer = session.get(url, proxies=proxies, verify=ORDER["ca"], timeout=TIMEOUT)
                return answer.status_code, answer.json()

        run("requests", case, ip, request)


def with_httpx():
    for case, scheme, address, user, password, url, ip in proxies(["http", "https", "socks5"]):

        def request():
            context = {"ssl_context": TRUST} if scheme == "https" else {}
            proxy = httpx.Proxy(f"{scheme}://{address}", auth=(user, password), **context)
            with httpx.Client(proxy=proxy, verify=TRUST, timeout=TIMEOUT, trust_env=False) as client:
                answer = client.get(url)
                return answer.status_code, answer.json()

        run("httpx", case, ip, request)


def with_aiohttp():
    async def ask(url, proxy, user, password):
        auth = aiohttp.BasicAuth(user, password)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        connector = aiohttp.TCPConnector(ssl=TRUST)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            async with session.get(url, proxy=proxy, proxy_auth=auth) as answer:
                return answer.status, await answer.json(content_type=None)

    for case, scheme, address, user, password, url, ip in proxies(["http", "https"]):
        run("aiohttp", case, ip, lambda: asyncio.run(ask(url, f"{scheme}://{address}", user, password)))


def with_urllib3():
    for case, scheme, address, user, password, url, ip in proxies(["http", "https", "socks5", "socks5h"]):

        def request():
            if scheme.startswith("socks"):
                manager = urllib3.contrib.socks.SOCKSProxyManager(
                    f"{scheme}://{address}", username=user, password=password, ssl_context=TRUST
                )
            else:
                headers = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}")
                context = {"proxy_ssl_context": TRUST} if scheme == "https" else {}
                manager = urllib3.ProxyManager(
                    f"{scheme}://{address}", proxy_headers=headers, ssl_context=TRUST, **context
                )
            with manager:
                answer = manager.request("GET", url, timeout=TIMEOUT, retries=False)
                return answer.status, answer.json()

        run("urllib3", case, ip, request)


def with_pysocks():
    for case, _, address, user, password, url, ip in proxies(["socks5"]):

        def request():
            host, port = address.rsplit(":", 1)
            to_host, to_port = url.split("/")[2].rsplit(":", 1)
            stream = socks.socksocket()
            stream.settimeout(TIMEOUT)
            stream.set_proxy(socks.SOCKS5, host, int(port), username=user, password=password)
            stream.connect((to_host, int(to_port)))
            if url.startswith("https"):
                stream = TRUST.wrap_socket(stream, server_hostname=to_host)
            with stream:
                stream.sendall(f"GET /echo HTTP/1.1\r\nHost: {to_host}\r\nConnection: close\r\n\r\n".encode())
                answer = HTTPResponse(stream)
                answer.begin()
                return answer.status, json.loads(answer.read())

        run("PySocks", case, ip, request)


def with_scrapy():
    """One crawl for all cases: its event loop starts only once in a process."""

    class Spider(scrapy.Spider):
        name = "echo"

        async def start(self):
            for case, scheme, address, user, password, url, ip in proxies(["http"]):
                proxy = f"{scheme}://{user}:{password}@{address}"
                meta = {"proxy": proxy, "download_timeout": TIMEOUT, "handle_httpstatus_list": [407]}
                yield scrapy.Request(
                    url,
                    self.parse,
                    errback=self.failed,
                    meta=meta,
                    cb_kwargs={"case": case, "expected": ip},
                    dont_filter=True,
                )

        def parse(self, response, case, expected):
            report("Scrapy", case, expected, response.status, response.json().get("ip"))

        def failed(self, failure):
            case, expected = (failure.request.cb_kwargs[name] for name in ["case", "expected"])
            report("Scrapy", case, expected, None, None, repr(failure.value))

    settings = {"LOG_ENABLED": False, "RETRY_ENABLED": False, "TELNETCONSOLE_ENABLED": False}
    process = scrapy.crawler.CrawlerProcess(settings)
    process.crawl(Spider)
    process.start()


if __name__ == "__main__":
    for client in [with_requests, with_httpx, with_aiohttp, with_urllib3, with_pysocks, with_scrapy]:
        client()
