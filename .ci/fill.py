"""Fills a fresh server with something of every kind, and prints the ids as JSON by their schema's name."""

import json
import sys
import urllib.request

url, key = sys.argv[1:]


def send(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + path, data, headers, method=method)) as answer:
        return json.load(answer)


def post(path, body):
    return send("POST", path, body)


euro = {"amount_minor": 1000, "currency": "EUR"}
campaign = post("/v1/campaigns", {
    "name": "Spring",
    "status": "live",
    "budget": {"amount": {"amount_minor": 10_000_000, "currency": "EUR"}},
    "rewards": [
        {"name": "Share", "beneficiary": "referrer", "value": {"type": "commission", "percent": "10"}, "cadence": {"type": "ongoing"}},
        {"name": "Cash", "beneficiary": "referrer", "value": {"type": "fixed", "amount": euro}, "hold_days": 14},
        {"name": "Points", "beneficiary": "referrer", "value": {"type": "custom", "metric": "points", "units": 5}, "review": "always"},
        {"name": "Voucher", "beneficiary": "lead", "value": {"type": "coupon"}},
    ],
})
definition = campaign["rewards"][3]["id"]
post(f"/v1/reward-definitions/{definition}/coupons", {"codes": [f"WELCOME-{n}" for n in range(50)]})
referrer = post("/v1/referrers", {"campaign_id": campaign["id"], "email": "anna@example.com", "first_name": "Anna"})
lead = None
for n in range(5):
    lead = post("/v1/leads", {"code": referrer["code"], "email": f"friend{n}@example.com", "external_id": f"friend-{n}"})["lead"]
    done = post("/v1/conversions", {"lead_id": lead["id"], "external_id": f"order-{n}", "amount_minor": 5_000, "currency": "EUR"})
post("/v1/conversions", {"email": "nobody@example.com", "external_id": "stray", "amount_minor": 1, "currency": "EUR"})
rewards = send("GET", "/v1/rewards")["data"]
spare = post("/v1/api-keys", {"name": "Spare", "scopes": ["read"]})
hook = post("/v1/inbound-hooks", {"name": "Shop", "mapping": {"email": {"path": "email"}, "external_id": {"path": "id"}}})
post(hook["url"].removeprefix(url), {"email": "friend0@example.com", "id": "shop-1"})
message = send("GET", f"/v1/inbound-hooks/{hook['id']}/messages")["data"][0]
event = send("GET", "/v1/events")["data"][0]

json.dump({
    "own": send("GET", "/v1/me")["api_key"]["id"],
    "cmp_id": [campaign["id"]],
    "rdf_id": [reward["id"] for reward in campaign["rewards"]],
    "ref_id": [referrer["id"]],
    "lead_id": [lead["id"]],
    "cnv_id": [done["conversion"]["id"]],
    "rwd_id": [reward["id"] for reward in rewards],
    "sig_id": [done["signal_id"]],
    "evt_id": [event["id"]],
    "key_id": [spare["id"]],
    "hook_id": [hook["id"]],
    "msg_id": [message["id"]],
}, sys.stdout)
