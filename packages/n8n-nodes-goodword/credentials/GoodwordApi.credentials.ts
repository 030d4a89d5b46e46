import type {
	IAuthenticateGeneric,
	Icon,
	ICredentialTestRequest,
	ICredentialType,
	INodeProperties,
} from 'n8n-workflow';

export class GoodwordApi implements ICredentialType {
	name = 'goodwordApi';

	displayName = 'Goodword API';

	icon: Icon = { light: 'file:../icons/goodword.svg', dark: 'file:../icons/goodword.dark.svg' };

	documentationUrl = 'https://goodword.dev/docs/n8n#credentials';

	properties: INodeProperties[] = [
		{
			displayName: 'Server URL',
			name: 'serverUrl',
			type: 'string',
			default: '',
			required: true,
			placeholder: 'e.g. https://refer.example.com',
			description: 'The address of your Goodword server, without a path',
		},
		{
			displayName: 'API Key',
			name: 'apiKey',
			type: 'string',
			typeOptions: { password: true },
			default: '',
			required: true,
			placeholder: 'e.g. gw_live_…',
			description:
				'A live key sees live data, a test key only test data. The scope "write" is enough for everything.',
		},
	];

	authenticate: IAuthenticateGeneric = {
		type: 'generic',
		properties: { headers: { 'X-Api-Key': '={{$credentials.apiKey}}' } },
	};

	test: ICredentialTestRequest = {
		request: {
			baseURL: '={{$credentials.serverUrl.trim().replace(/\\/+$/, "")}}',
			url: '/v1/me',
			method: 'GET',
		},
	};
}
