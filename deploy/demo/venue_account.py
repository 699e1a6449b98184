"""The paper venue's own account, read directly: the outside view that the books are compared with."""

import hashlib
import hmac
import time
from decimal import Decimal
from urllib.parse import urlencode

import httpx


async def read_account(url: str, api_key: str, api_secret: str) -> dict[str, Decimal]:
    """Free plus locked by asset, zero balances left out (Binance: GET /api/v3/account, HMAC SHA256 signed)."""
    query = urlencode({"timestamp": int(time.time() * 1000), "recvWindow": 5000, "omitZeroBalances": "true"})
    signature = hmac.new(api_secret.encode(), query.encode(), hashlib.sha256).hexdigest()
    async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
        response = await client.get(
            f"{url}/api/v3/account?{query}&signature={signature}", headers={"X-MBX-APIKEY": api_key}
        )
        response.raise_for_status()
    totals = {
        balance["asset"]: Decimal(balance["free"]) + Decimal(balance["locked"])
        for balance in response.json()["balances"]
    }
    return {asset: total for asset, total in totals.items() if total}
