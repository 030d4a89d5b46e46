// The fields that a step offers to the next, named after a sample of what it puts out.

const words = (path) =>
	path
		.filter((key) => key !== 'data')
		.flatMap((key) => key.split('_'))
		.map((word) => (word === 'id' ? 'ID' : word[0].toUpperCase() + word.slice(1)))
		.join(' ');

const typeOf = (key, value) => {
	if (/_(at|until)$/.test(key)) return 'datetime';
	if (typeof value === 'boolean') return 'boolean';
	return Number.isInteger(value) ? 'integer' : 'string';
};

/** Nested members as `data__lead__email`. Lists, and objects with keys of the users' own, Zapier finds by itself. */
export const outputFields = (sample, path = []) =>
	Object.entries(sample).flatMap(([key, value]) => {
		if (Array.isArray(value)) return [];
		const here = [...path, key];
		if (value !== null && typeof value === 'object') return outputFields(value, here);
		return [{ key: here.join('__'), label: words(here), type: typeOf(key, value) }];
	});
