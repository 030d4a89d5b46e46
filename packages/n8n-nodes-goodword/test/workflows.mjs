// The workflows of the test, made from short descriptions.
const TYPE = 'n8n-nodes-goodword.goodword';
export const CREDENTIAL = { id: 'goodwordCred0001', name: 'Goodword' };
export const credentials = { goodwordApi: CREDENTIAL };

/** One of a drop-down, as the editor saves it. */
export const picked = (value, mode = 'list') => ({ __rl: true, mode, value });

export const action = (name, resource, operation, parameters = {}, more = {}) => ({
	name,
	type: TYPE,
	typeVersion: 1,
	parameters: { resource, operation, ...parameters },
	credentials,
	// A list that is empty or long must not stop or multiply what comes after it.
	executeOnce: true,
	alwaysOutputData: true,
	...more,
});

export const trigger = (name, uuid, parameters) => ({
	name,
	type: `${TYPE}Trigger`,
	typeVersion: 1,
	webhookId: uuid,
	parameters,
	credentials,
});

export const hook = (path, uuid) => ({
	name: 'Start',
	type: 'n8n-nodes-base.webhook',
	typeVersion: 2,
	webhookId: uuid,
	parameters: { httpMethod: 'POST', path, responseMode: 'lastNode', options: {} },
});

/** A workflow whose nodes follow each other. */
export function chain(id, name, nodes) {
	const connections = {};
	nodes.slice(1).forEach((node, index) => {
		connections[nodes[index].name] = { main: [[{ node: node.name, type: 'main', index: 0 }]] };
	});
	return {
		id,
		name,
		active: false,
		nodes: nodes.map((node, index) => ({ id: `${id}-${index}`, position: [index * 200, 0], ...node })),
		connections,
		settings: { executionOrder: 'v1' },
	};
}
