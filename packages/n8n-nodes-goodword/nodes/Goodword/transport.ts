import {
	NodeApiError,
	type IDataObject,
	type IExecuteSingleFunctions,
	type IHookFunctions,
	type IHttpRequestMethods,
	type IHttpRequestOptions,
	type ILoadOptionsFunctions,
	type IN8nHttpFullResponse,
	type INode,
	type INodeExecutionData,
	type JsonObject,
} from 'n8n-workflow';

/** An RFC 9457 problem, as the server writes every error. */
interface Problem extends IDataObject {
	title?: string;
	detail?: string;
	next_step?: string;
	request_id?: string;
}

const STATUS_HINTS: Record<number, string> = {
	401: 'Check the API key in the credential, and that it belongs to this server.',
	403: 'The API key lacks the scope for this. Give it the scope on the server, or use another key.',
	404: 'Test keys see only test data and live keys only live data: check that the credential has the key of the right side.',
	429: 'Turn on "Retry On Fail" in the node settings, or send fewer items at once with "Batching".',
	503: 'Nothing was written. Turn on "Retry On Fail" in the node settings: sending it again is harmless.',
};

/**
 * The server's own words instead of a general sentence about the status. n8n shows the
 * description alone where an activation fails: there it holds them too.
 */
export function asNodeApiError(
	node: INode,
	status: number,
	body: unknown,
	{ inDescription = false } = {},
): NodeApiError {
	const problem = (body && typeof body === 'object' ? body : {}) as Problem;
	const message =
		problem.detail ??
		problem.title ??
		`The address in the credential answered with status ${status}, and not as a Goodword server does. Check the Server URL.`;
	const parts = [
		inDescription ? message : '',
		problem.next_step ?? '',
		STATUS_HINTS[status] ?? '',
		problem.request_id ? `Request ${problem.request_id}.` : '',
	];
	return new NodeApiError(node, problem as JsonObject, {
		message,
		description: parts.filter((part) => part !== '').join(' ') || 'See the log of the server.',
		httpCode: String(status),
	});
}

export const serverUrl = (credentials: IDataObject) =>
	String(credentials.serverUrl ?? '')
		.trim()
		.replace(/\/+$/, '');

/** A request of the trigger or of a drop-down. */
export async function apiRequest(
	this: IHookFunctions | ILoadOptionsFunctions,
	method: IHttpRequestMethods,
	path: string,
	{ body, qs, gone }: { body?: IDataObject; qs?: IDataObject; gone?: number[] } = {},
): Promise<IDataObject | undefined> {
	const options: IHttpRequestOptions = {
		method,
		url: `${serverUrl(await this.getCredentials('goodwordApi'))}/v1${path}`,
		qs,
		body,
		json: true,
		timeout: 30_000,
		returnFullResponse: true,
		ignoreHttpStatusErrors: true,
	};
	const response: IN8nHttpFullResponse = await this.helpers.httpRequestWithAuthentication.call(
		this,
		'goodwordApi',
		options,
	);
	if (gone?.includes(response.statusCode)) return undefined;
	if (response.statusCode >= 300) {
		throw asNodeApiError(this.getNode(), response.statusCode, response.body, { inDescription: true });
	}
	return response.body as unknown as IDataObject;
}

function checked(this: IExecuteSingleFunctions, response: IN8nHttpFullResponse): IDataObject {
	const body = response.body as unknown as IDataObject;
	if (response.statusCode >= 300) throw asNodeApiError(this.getNode(), response.statusCode, body);
	if (response.statusCode !== 204 && (typeof body !== 'object' || body === null)) {
		throw asNodeApiError(this.getNode(), response.statusCode, undefined);
	}
	return body;
}

/** One answer, one item. */
export async function answerOne(
	this: IExecuteSingleFunctions,
	_items: INodeExecutionData[],
	response: IN8nHttpFullResponse,
): Promise<INodeExecutionData[]> {
	const json = checked.call(this, response);
	return [{ json, pairedItem: { item: this.getItemIndex() } }];
}

/** A page of a list, an item for each row. */
export async function answerMany(
	this: IExecuteSingleFunctions,
	_items: INodeExecutionData[],
	response: IN8nHttpFullResponse,
): Promise<INodeExecutionData[]> {
	const rows = (checked.call(this, response).data ?? []) as IDataObject[];
	return rows.map((json) => ({ json, pairedItem: { item: this.getItemIndex() } }));
}

export async function answerDeleted(
	this: IExecuteSingleFunctions,
	_items: INodeExecutionData[],
	response: IN8nHttpFullResponse,
): Promise<INodeExecutionData[]> {
	checked.call(this, response);
	return [{ json: { deleted: true }, pairedItem: { item: this.getItemIndex() } }];
}

/** Whatever the path of an own request answers. */
export async function answerAny(
	this: IExecuteSingleFunctions,
	_items: INodeExecutionData[],
	response: IN8nHttpFullResponse,
): Promise<INodeExecutionData[]> {
	const body = checked.call(this, response);
	const json = response.statusCode === 204 ? { done: true } : body;
	return [{ json, pairedItem: { item: this.getItemIndex() } }];
}
