"""What a program in Python does with the generated client, from a campaign to an issued reward."""

import os
from typing import TypeVar

from goodword import AuthenticatedClient
from goodword.api.account import account_me
from goodword.api.campaigns import campaigns_create
from goodword.api.events import events_list
from goodword.api.leads import leads_create, leads_explanation
from goodword.api.qualifications import qualifications_create
from goodword.api.referrers import referrers_create
from goodword.api.rewards import rewards_approve, rewards_issue, rewards_list
from goodword.models import (
    EventType,
    Lead,
    LeadStatus,
    Money,
    NewCampaign,
    NewLead,
    NewQualification,
    NewReferrer,
    Outcome,
    Problem,
    Reason,
    Remark,
    RewardState,
)

T = TypeVar("T")


def done(answer: T | Problem | None) -> T:
    """The data of an answer, or the problem that the server tells of."""
    if isinstance(answer, Problem):
        raise RuntimeError(answer.detail)
    assert answer is not None
    return answer


goodword = AuthenticatedClient(os.environ["GOODWORD_URL"], os.environ["GOODWORD_TEST_KEY"])

assert done(account_me.sync(client=goodword)).test

# The variants of a reward's value have no names in the document, so the generator's would say nothing.
euros = {"type": "fixed", "amount": {"amount": "20.00", "currency": "EUR"}}
reward_terms = {"name": "20 EUR for you", "beneficiary": "referrer", "review": "always", "value": euros}
new_campaign = NewCampaign.from_dict({"name": "Python", "status": "live", "currency": "EUR", "rewards": [reward_terms]})
campaign = done(campaigns_create.sync(client=goodword, body=new_campaign))

new_referrer = NewReferrer(campaign_id=campaign.id, email="priya@example.com")
referrer = done(referrers_create.sync(client=goodword, body=new_referrer))
assert referrer.created and referrer.referral_link.endswith(referrer.code)

lead = done(leads_create.sync(client=goodword, body=NewLead(code=referrer.code, email="maya@example.com"))).lead
assert isinstance(lead, Lead)
qualification = NewQualification(lead_id=lead.id, note="by a program")
answer = done(qualifications_create.sync(client=goodword, body=qualification, idempotency_key="python-1"))
assert answer.outcome == Outcome.APPLIED and answer.qualified
assert isinstance(answer.lead, Lead) and answer.lead.status == LeadStatus.QUALIFIED
again = qualifications_create.sync_detailed(client=goodword, body=qualification, idempotency_key="python-1")
assert again.headers["idempotent-replayed"] == "true"

[reward] = done(rewards_list.sync(client=goodword, campaign_id=campaign.id, state=RewardState.IN_REVIEW)).data
assert done(rewards_approve.sync(reward.id, client=goodword, body=Remark())).state == RewardState.APPROVED
issued = done(rewards_issue.sync(reward.id, client=goodword, body=Remark(note="by a program")))
assert issued.state == RewardState.ISSUED
assert isinstance(issued.amount, Money) and issued.amount.amount_minor == 2000

explanation = done(leads_explanation.sync(lead.id, client=goodword))
assert explanation.verdict

[event] = done(events_list.sync(client=goodword, type_=[EventType.REWARD_ISSUED], campaign_id=campaign.id)).data
assert event.data.reward and event.data.reward.id == reward.id

refused = leads_create.sync(client=goodword, body=NewLead(code=referrer.code, email="maya"))
assert isinstance(refused, Problem) and (refused.status, refused.errors[0].field) == (422, "/email")
conflict = leads_create.sync(client=goodword, body=NewLead(code=referrer.code, email="priya@example.com"))
assert isinstance(conflict, Problem) and conflict.reason == Reason.NOT_SELF

print(f"Python: {explanation.verdict}")
