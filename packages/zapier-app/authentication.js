import { get, serverAddress } from './api.js';

export default {
	type: 'custom',
	fields: [
		{
			key: 'server_address',
			label: 'Server Address',
			type: 'string',
			required: true,
			placeholder: 'https://refer.example.com',
			helpText: 'Where your Goodword server is reached from the internet, without a path.',
		},
		{
			key: 'api_key',
			label: 'API Key',
			type: 'password',
			required: true,
			helpText:
				'`gw_live_…` for live data, `gw_test_…` for test data, with the scope `write`. How to make one is in [the guide](https://goodword.dev/docs/zapier).',
		},
	],
	test: (z) => get(z, '/v1/me'),
	/** "Northlight (test) · refer.example.com" */
	connectionLabel: (z, bundle) => `${bundle.inputData.label} · ${new URL(serverAddress(bundle)).host}`,
};
