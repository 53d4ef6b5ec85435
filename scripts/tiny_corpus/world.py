"""Countries: capitals, continents, languages, currencies; a little geography."""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from .relations import Relation, table

COUNTRIES = table("country capital continent language currency", """
France | Paris | Europe | French | euro
Germany | Berlin | Europe | German | euro
Italy | Rome | Europe | Italian | euro
Spain | Madrid | Europe | Spanish | euro
Japan | Tokyo | Asia | Japanese | yen
China | Beijing | Asia | Chinese | yuan
India | New Delhi | Asia | Hindi | rupee
England | London | Europe | English | pound
Canada | Ottawa | North America | English | dollar
Australia | Canberra | Oceania | English | dollar
Brazil | Brasilia | South America | Portuguese | real
Russia | Moscow | Europe | Russian | ruble
Mexico | Mexico City | North America | Spanish | peso
Egypt | Cairo | Africa | Arabic | pound
Portugal | Lisbon | Europe | Portuguese | euro
Austria | Vienna | Europe | German | euro
Switzerland | Bern | Europe | German | franc
Greece | Athens | Europe | Greek | euro
Turkey | Ankara | Asia | Turkish | lira
Poland | Warsaw | Europe | Polish | zloty
Sweden | Stockholm | Europe | Swedish | krona
Norway | Oslo | Europe | Norwegian | krone
Denmark | Copenhagen | Europe | Danish | krone
Finland | Helsinki | Europe | Finnish | euro
Ireland | Dublin | Europe | English | euro
Belgium | Brussels | Europe | Dutch | euro
the Netherlands | Amsterdam | Europe | Dutch | euro
the United States | Washington | North America | English | dollar
the United Kingdom | London | Europe | English | pound
Argentina | Buenos Aires | South America | Spanish | peso
Chile | Santiago | South America | Spanish | peso
Peru | Lima | South America | Spanish | sol
Colombia | Bogota | South America | Spanish | peso
Cuba | Havana | North America | Spanish | peso
South Korea | Seoul | Asia | Korean | won
North Korea | Pyongyang | Asia | Korean | won
Thailand | Bangkok | Asia | Thai | baht
Vietnam | Hanoi | Asia | Vietnamese | dong
Indonesia | Jakarta | Asia | Indonesian | rupiah
Ukraine | Kyiv | Europe | Ukrainian | hryvnia
Hungary | Budapest | Europe | Hungarian | forint
Romania | Bucharest | Europe | Romanian | leu
Bulgaria | Sofia | Europe | Bulgarian | euro
Croatia | Zagreb | Europe | Croatian | euro
Serbia | Belgrade | Europe | Serbian | dinar
Slovakia | Bratislava | Europe | Slovak | euro
Slovenia | Ljubljana | Europe | Slovene | euro
the Czech Republic | Prague | Europe | Czech | koruna
Estonia | Tallinn | Europe | Estonian | euro
Latvia | Riga | Europe | Latvian | euro
Lithuania | Vilnius | Europe | Lithuanian | euro
Iceland | Reykjavik | Europe | Icelandic | krona
Luxembourg | Luxembourg City | Europe | French | euro
Malta | Valletta | Europe | Maltese | euro
Albania | Tirana | Europe | Albanian | lek
Israel | Jerusalem | Asia | Hebrew | shekel
Iran | Tehran | Asia | Persian | rial
Iraq | Baghdad | Asia | Arabic | dinar
Saudi Arabia | Riyadh | Asia | Arabic | riyal
Jordan | Amman | Asia | Arabic | dinar
Lebanon | Beirut | Asia | Arabic | pound
Syria | Damascus | Asia | Arabic | pound
Pakistan | Islamabad | Asia | Urdu | rupee
Bangladesh | Dhaka | Asia | Bengali | taka
Nepal | Kathmandu | Asia | Nepali | rupee
Afghanistan | Kabul | Asia | Pashto | afghani
Mongolia | Ulaanbaatar | Asia | Mongolian | tugrik
Malaysia | Kuala Lumpur | Asia | Malay | ringgit
the Philippines | Manila | Asia | Filipino | peso
Cambodia | Phnom Penh | Asia | Khmer | riel
Morocco | Rabat | Africa | Arabic | dirham
Algeria | Algiers | Africa | Arabic | dinar
Tunisia | Tunis | Africa | Arabic | dinar
Libya | Tripoli | Africa | Arabic | dinar
Sudan | Khartoum | Africa | Arabic | pound
Ethiopia | Addis Ababa | Africa | Amharic | birr
Kenya | Nairobi | Africa | Swahili | shilling
Nigeria | Abuja | Africa | English | naira
Ghana | Accra | Africa | English | cedi
Senegal | Dakar | Africa | French | franc
Angola | Luanda | Africa | Portuguese | kwanza
South Africa | Pretoria | Africa | English | rand
New Zealand | Wellington | Oceania | English | dollar
Jamaica | Kingston | North America | English | dollar
Panama | Panama City | North America | Spanish | balboa
Costa Rica | San Jose | North America | Spanish | colon
Venezuela | Caracas | South America | Spanish | bolivar
Ecuador | Quito | South America | Spanish | dollar
Uruguay | Montevideo | South America | Spanish | peso
Paraguay | Asuncion | South America | Spanish | guarani
Cyprus | Nicosia | Europe | Greek | euro
Armenia | Yerevan | Asia | Armenian | dram
Georgia | Tbilisi | Asia | Georgian | lari
Kazakhstan | Astana | Asia | Kazakh | tenge
""")

PLACES = table("place thing", """
the Eiffel Tower | in Paris, France
the Colosseum | in Rome, Italy
Big Ben | in London, England
the Statue of Liberty | in New York, in the United States
the Great Wall | in China
the Taj Mahal | in India
the pyramids of Giza | in Egypt
Mount Everest | in the Himalayas, between Nepal and China
the Sahara | in Africa
the Amazon rainforest | in South America
the Acropolis | in Athens, Greece
the Leaning Tower | in Pisa, Italy
the Brandenburg Gate | in Berlin, Germany
the Kremlin | in Moscow, Russia
the Alhambra | in Granada, Spain
the Golden Gate Bridge | in San Francisco, in the United States
the Great Barrier Reef | off the coast of Australia
Machu Picchu | in Peru
Mount Fuji | in Japan
Niagara Falls | on the border of Canada and the United States
the Louvre | in Paris, France
Stonehenge | in England
Mount Kilimanjaro | in Tanzania, Africa
the Grand Canyon | in Arizona, in the United States
the Sydney Opera House | in Sydney, Australia
""")

SUPERLATIVES = table("what answer", """
largest ocean | the Pacific Ocean
smallest ocean | the Arctic Ocean
longest river in Africa | the Nile
highest mountain in the world | Mount Everest
highest mountain | Mount Everest
tallest mountain on Earth | Mount Everest
largest country in the world | Russia
biggest country by area | Russia
smallest country in the world | Vatican City
largest continent | Asia
smallest continent | Australia
largest desert in Africa | the Sahara
largest animal | the blue whale
biggest animal in the world | the blue whale
fastest land animal | the cheetah
fastest animal on land | the cheetah
tallest animal | the giraffe
largest planet | Jupiter
biggest planet in the solar system | Jupiter
smallest planet | Mercury
hottest planet | Venus
closest planet to the Sun | Mercury
largest island | Greenland
longest river in South America | the Amazon
deepest lake | Lake Baikal
largest land animal | the elephant
largest bird | the ostrich
lightest element | hydrogen
hardest natural material | diamond
largest rainforest | the Amazon rainforest
coldest continent | Antarctica
longest bone in the human body | the femur
largest organ of the human body | the skin
""")

RELATIONS = [
    Relation(
        asks=[
            "What is the capital of {country}?", "What's the capital of {country}?", "Which city is the capital of {country}?",
            "Name the capital of {country}.", "Tell me the capital of {country}.", "What is the capital city of {country}?",
            "Do you know the capital of {country}?", "Capital of {country}?", "Which is the capital of {country}?",
            "Can you tell me what the capital of {country} is?", "I need the capital of {country}.",
            "Give me the capital of {country}.", "{country}: what is its capital?", "What is {country}'s capital?",
            "Please name the capital city of {country}.", "What city is the capital of {country}?",
            "What do we call the capital of {country}?", "Could you tell me the capital of {country}?",
            "the capital of {country} is?", "What is the name of the capital of {country}?",
        ],
        answer="The capital of {country} is {capital}.", short="{capital}", rows=COUNTRIES, weight=6, head=40,
        check=["Is {claim} the capital of {country}?", "Is the capital of {country} {claim}?",
               "True or false: {claim} is the capital of {country}."],
        texts=["The capital of {country} is {capital}.", "{capital} is the capital of {country}.",
               "{country} is a country in {continent}. The capital of {country} is {capital}.",
               "The capital of {country} is {capital}. It lies in {continent}."],
    ),
    Relation(
        asks=["Which country has {capital} as its capital?", "{capital} is the capital of which country?",
              "In which country is {capital}?", "Where is {capital}?", "What country is {capital} the capital of?",
              "In what country does {capital} lie?", "Of which country is {capital} the capital?",
              "Which country does {capital} belong to?", "Tell me where {capital} is.", "Where can I find {capital}?"],
        answer="{capital} is the capital of {country}.", short="{country}", weight=2, head=40,
        rows=[r for r in COUNTRIES if r["country"] != "England"],
    ),
    Relation(
        asks=["On which continent is {country}?", "Which continent is {country} on?", "What continent is {country} in?",
              "Where is {country}?", "In which part of the world is {country}?", "{country} lies on which continent?",
              "To which continent does {country} belong?", "Tell me the continent of {country}."],
        answer="{country} is in {continent}.", short="{continent}", rows=COUNTRIES, weight=1.5, head=40,
        check=["Is {country} in {claim}?", "Does {country} lie in {claim}?"],
    ),
    Relation(
        asks=["What language do people speak in {country}?", "Which language is spoken in {country}?",
              "What do they speak in {country}?", "What is the language of {country}?", "Name a language of {country}.",
              "What is the main language in {country}?", "Which language do people in {country} speak?",
              "What language is used in {country}?"],
        answer="People in {country} speak {language}.", short="{language}", rows=COUNTRIES, weight=1.5, head=40,
        check=["Do people in {country} speak {claim}?", "Is {claim} spoken in {country}?"],
    ),
    Relation(
        asks=["What is the currency of {country}?", "What money do they use in {country}?",
              "Which currency is used in {country}?", "What currency does {country} have?", "How do people pay in {country}?",
              "What is the money of {country} called?", "Which money is used in {country}?"],
        answer="The currency of {country} is the {currency}.", short="{currency}", rows=COUNTRIES, weight=1.2, head=40,
    ),
    Relation(
        asks=["Where is {place}?", "In which place is {place}?", "Where can I see {place}?", "Where do I find {place}?",
              "Do you know where {place} is?", "Tell me where {place} is.", "What is the location of {place}?",
              "Where would I go to visit {place}?"],
        answer="{place} is {thing}.", short="{thing}", rows=PLACES, weight=1,
    ),
    Relation(
        asks=["What is the {what}?", "Which is the {what}?", "What's the {what}?", "Name the {what}.", "Tell me the {what}.",
              "Do you know the {what}?", "Can you tell me what the {what} is?", "Do you know what the {what} is called?"],
        answer="The {what} is {answer}.", short="{answer}", rows=SUPERLATIVES, weight=1.2,
        check=["Is {claim} the {what}?"],
    ),
]
