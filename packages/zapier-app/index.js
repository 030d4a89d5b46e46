import { version as platformVersion } from 'zapier-platform-core';

import { checked, toServer } from './api.js';
import authentication from './authentication.js';
import { creates } from './creates.js';
import manifest from './package.json' with { type: 'json' };
import { searches, searchOrCreates } from './searches.js';
import { triggers } from './triggers.js';

const byKey = (steps) => Object.fromEntries(steps.map((step) => [step.key, step]));

export default {
	version: manifest.version,
	platformVersion,
	// `checked` reads every answer, also those that are no success.
	flags: { skipThrowForStatus: true },
	authentication,
	beforeRequest: [toServer],
	afterResponse: [checked],
	triggers: byKey(triggers),
	creates: byKey(creates),
	searches: byKey(searches),
	searchOrCreates: byKey(searchOrCreates),
};
