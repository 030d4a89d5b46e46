// Requests to the server, and what its answers mean to Zapier.

/** The address in the connection, without the slash that people paste with it. */
export const serverAddress = (bundle) => String(bundle.authData.server_address ?? '').trim().replace(/\/+$/, '');

export const toServer = (request, z, bundle) => ({
	...request,
	url: serverAddress(bundle) + request.url,
	headers: { ...request.headers, 'X-Api-Key': bundle.authData.api_key },
	removeMissingValuesFrom: { params: true, body: true },
	// A POST that follows a redirect becomes a GET, which would look like success.
	redirect: 'manual',
	// The platform's own words on 429 would hide the server's.
	throwForThrottlingEarly: false,
});

/** The server's own words (RFC 9457) in the class of error that makes Zapier do the right thing. */
export const checked = (response, z, bundle) => {
	const { status, data } = response;
	if (status === 204) return response;
	const address = serverAddress(bundle);
	if (status >= 300 && status < 400) {
		const there = response.getHeader('location');
		throw new z.errors.Error(`${address} redirects to ${there}. Put the final address into the connection.`, 'redirect', status);
	}
	if (data === null || typeof data !== 'object' || (status >= 400 && !data.detail)) {
		const message = `${address} has answered with status ${status}, and not as a Goodword server does. Check the server address in the connection.`;
		throw new z.errors.Error(message, 'not_goodword', status);
	}
	if (status < 300) return response;

	const message = [data.detail, data.next_step, data.request_id && `Request ${data.request_id}.`].filter(Boolean).join(' ');
	if (status === 401) throw new z.errors.ExpiredAuthError(message);
	// Nothing was written in either case: Zapier tries again later.
	if (status === 429 || status === 503) {
		throw new z.errors.ThrottledError(message, Number(response.getHeader('retry-after')) || 60);
	}
	throw new z.errors.Error(message, data.code, status);
};

export const get = async (z, url, params) => (await z.request({ url, params })).data;

export const post = async (z, url, body = {}) => (await z.request({ method: 'POST', url, body })).data;

/** Rows of a list, the newest first: as many as a drop-down or a poll can use. */
export const rows = async (z, url, params = {}, most = 1000) => {
	const found = [];
	let cursor;
	do {
		const page = await get(z, url, { ...params, limit: 250, cursor });
		found.push(...page.data);
		cursor = page.next_cursor;
	} while (cursor && found.length < most);
	return found;
};
