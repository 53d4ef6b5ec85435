// Runs named sections one after the other and prints {"name": null or what went wrong} as the last line.

export async function run(sections) {
  const results = {};
  for (const [name, section] of Object.entries(sections)) {
    try {
      await section();
      results[name] = null;
    } catch (error) {
      results[name] = String(error.stack ?? error);
    }
  }
  console.log(JSON.stringify(results));
}
