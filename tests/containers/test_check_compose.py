"""The judge of the compose files, judged: each mistake is found."""

import copy
import unittest
from pathlib import Path

import check_compose

FOLDER = Path(__file__).parents[2]


class Mistakes(unittest.TestCase):
    """Each test makes one mistake in the file for production."""

    NAME = "docker-compose.prod.yml"

    @classmethod
    def setUpClass(cls):
        cls.document = check_compose.load(FOLDER / cls.NAME)

    def assert_found(self, change, *expected):
        document = copy.deepcopy(self.document)
        change(document["services"])
        problems = check_compose.check(FOLDER, self.NAME, document)
        for problem in expected:
            self.assertIn(f"{self.NAME}: {problem}", problems)

    def test_version_of_an_image(self):
        for image in ("redis", "redis:latest", "redis:7", "registry.example:5000/redis"):
            self.assert_found(lambda services, image=image: services["redis-primary"].update(image=image),
                              f"redis-primary: the version of {image} is not fixed")

    def test_file_that_is_not_there(self):
        self.assert_found(lambda services: services["grafana"]["volumes"].append("./monitoring/none.yml:/none:ro"),
                          "grafana: ./monitoring/none.yml does not exist")
        self.assert_found(lambda services: services["grafana"]["volumes"].append("./monitoring:/none"),
                          "grafana: ./monitoring can be written")
        self.assert_found(lambda services: services["grafana"]["volumes"].append("none:/none"),
                          "grafana: there is no volume none")

    def test_health(self):
        self.assert_found(lambda services: services["minio"].pop("healthcheck"), "minio: no health check")
        self.assert_found(lambda services: services["minio"].pop("mem_limit"), "minio: no limit of memory")

    def test_dependencies(self):
        wait = {"condition": "service_healthy"}
        self.assert_found(lambda services: services["minio"].update(depends_on={"none": wait}),
                          "minio: depends on none, which is not there")
        self.assert_found(lambda services: services["minio"].update(depends_on=["postgres"]),
                          "minio: does not say what postgres must have come to")
        self.assert_found(lambda services: services["liap"]["depends_on"].update(bucket=wait),
                          "liap: bucket will never be service_healthy")
        self.assert_found(lambda services: services["minio"].update(depends_on={"prometheus": wait}),
                          "minio: prometheus is in a profile that minio is not in")

    def test_end_of_a_job(self):
        ends = "bucket: ends, and nothing that goes on waits for that"
        self.assert_found(lambda services: services["liap"]["depends_on"].pop("bucket"), ends)
        self.assert_found(lambda services: services["liap"].update(profiles=["monitoring"]), ends)
        self.assert_found(lambda services: services["liap"].update(restart="no"), ends)

        def into_a_profile(services):
            services["liap"]["depends_on"].pop("bucket")
            services["bucket"].update(profiles=["archive"])
            services["minio"].update(profiles=["archive"])

        self.assert_found(into_a_profile, ends)

    def test_settings(self):
        self.assert_found(lambda services: services["liap"]["environment"].update(LOG_LEVLE="info"),
                          "liap: LOG_LEVLE is no setting")
        self.assert_found(lambda services: services["liap"]["environment"].update(LOG_LEVEL="${LOG_LEVLE:-info}"),
                          "LOG_LEVLE is no setting")
        self.assert_found(lambda services: services["liap"]["environment"].update(LOG_LEVEL="${LOG_LEVEL}"),
                          "LOG_LEVEL has no default")

    def test_names(self):
        self.assert_found(lambda services: services["minio"]["secrets"].append("none"), "minio: there is no secret none")
        self.assert_found(lambda services: services["minio"]["networks"].append("none"),
                          "minio: there is no network none")
        self.assert_found(lambda services: services["minio"]["secrets"].remove("s3_access_key"),
                          "minio: does not get the secret s3_access_key")

    def test_ports(self):
        self.assert_found(lambda services: services["grafana"].update(ports=["127.0.0.1:8000:3000"]),
                          "grafana: port 8000 is that of liap")
        self.assert_found(lambda services: services["postgres"].update(ports=["5432:5432"]),
                          "postgres: port 5432 can be reached from other machines",
                          "postgres: port 5432:5432 is published")

    def test_passwords(self):
        self.assert_found(lambda services: services["postgres"]["environment"].update(POSTGRES_PASSWORD="hush"),
                          "postgres: POSTGRES_PASSWORD is in plain sight")
        self.assert_found(lambda services: services["liap"]["environment"].update(REDIS_URL="redis://:hush@redis"),
                          "liap: REDIS_URL holds a password")

    def test_rights(self):
        self.assert_found(lambda services: services["minio"].pop("cap_drop"), "minio: has more rights than it needs")
        self.assert_found(lambda services: services["minio"].pop("networks"),
                          "minio: is in the network of everybody")


if __name__ == "__main__":
    unittest.main()
