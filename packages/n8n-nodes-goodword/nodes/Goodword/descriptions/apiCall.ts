import {
	NodeOperationError,
	type IDataObject,
	type IExecuteSingleFunctions,
	type IHttpRequestOptions,
	type INodeProperties,
} from 'n8n-workflow';

import { answerAny } from '../transport';
import { operations, options } from './common';

const resource = 'apiCall';
const show = { resource: [resource] };

/** The key goes to the server of the credential and nowhere else. */
async function toThisServer(
	this: IExecuteSingleFunctions,
	request: IHttpRequestOptions,
): Promise<IHttpRequestOptions> {
	if (!/^\/v1\/[^\\]*$/.test(request.url) || request.url.includes('..')) {
		throw new NodeOperationError(this.getNode(), 'The path must begin with /v1/', {
			itemIndex: this.getItemIndex(),
			description: `It is "${request.url}". The address of the server is taken from the credential.`,
		});
	}
	return request;
}

/** An object, or text with one. */
function asObject(this: IExecuteSingleFunctions, parameter: string): IDataObject | undefined {
	const value = this.getNodeParameter(parameter, '{}') as string | IDataObject;
	let parsed: unknown = value;
	if (typeof value === 'string') {
		try {
			parsed = value.trim() === '' ? {} : JSON.parse(value);
		} catch (error) {
			throw new NodeOperationError(this.getNode(), error as Error, {
				itemIndex: this.getItemIndex(),
				message: 'The body is not valid JSON',
			});
		}
	}
	return parsed as IDataObject;
}

async function withBody(
	this: IExecuteSingleFunctions,
	request: IHttpRequestOptions,
): Promise<IHttpRequestOptions> {
	return { ...request, body: asObject.call(this, 'body') };
}

export const apiCallProperties: INodeProperties[] = [
	operations(
		resource,
		[
			{
				name: 'Make an API Call',
				value: 'request',
				action: 'Make an API call',
				description: 'Send any request to the API of the server',
				routing: {
					request: { method: '={{ $parameter["method"] }}' as 'GET', url: '={{ $parameter["path"] }}' },
					send: { preSend: [toThisServer] },
					output: { postReceive: [answerAny] },
				},
			},
		],
		'request',
	),
	{
		displayName: 'Method',
		name: 'method',
		type: 'options',
		options: [
			{ name: 'DELETE', value: 'DELETE' },
			{ name: 'GET', value: 'GET' },
			{ name: 'PATCH', value: 'PATCH' },
			{ name: 'POST', value: 'POST' },
			{ name: 'PUT', value: 'PUT' },
		],
		default: 'GET',
		displayOptions: { show },
	},
	{
		displayName: 'Path',
		name: 'path',
		type: 'string',
		required: true,
		default: '/v1/me',
		placeholder: 'e.g. /v1/statistics',
		description: 'What the reference at /docs of your server says, beginning with /v1/',
		displayOptions: { show },
	},
	{
		displayName: 'Query Parameters',
		name: 'query',
		type: 'fixedCollection',
		typeOptions: { multipleValues: true },
		placeholder: 'Add Parameter',
		default: {},
		displayOptions: { show },
		options: [
			{
				displayName: 'Parameter',
				name: 'parameter',
				values: [
					{ displayName: 'Name', name: 'name', type: 'string', default: '' },
					{
						displayName: 'Value',
						name: 'value',
						type: 'string',
						default: '',
						routing: {
							send: { type: 'query', property: '={{ $parent.name }}', propertyInDotNotation: false },
						},
					},
				],
			},
		],
	},
	{
		displayName: 'Body',
		name: 'body',
		type: 'json',
		default: '{}',
		description: 'The body as JSON',
		displayOptions: { show: { ...show, method: ['PATCH', 'POST', 'PUT'] } },
		routing: { send: { preSend: [withBody] } },
	},
	{
		...options(resource, ['request']),
		displayOptions: { show: { ...show, method: ['DELETE', 'PATCH', 'POST', 'PUT'] } },
	},
];
