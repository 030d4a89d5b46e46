// What steps put out, put together from the examples of events that the server itself gives
// (GET /v1/event-types; events.json is its answer, and a test compares the two).
import events from './events.json' with { type: 'json' };

const { lead, referrer } = events['lead.created'].example.data;
const { reward } = events['reward.issued'].example.data;
const { conversion, evidence } = events['conversion.recorded'].example.data;

const decision = { signal_id: evidence.signal_id, outcome: 'applied', why: evidence.why };

export { events, lead, referrer, reward };
export const leadMade = { ...lead, created: true, ...decision };
export const referrerMade = { ...referrer, created: true };
export const answer = { ...decision, lead, conversion, qualified: true, already_qualified: false, repeated: false, rewards: [reward] };
